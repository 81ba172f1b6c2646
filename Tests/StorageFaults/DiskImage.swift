internal import Foundation

/// What lies on a disk at one moment, and what would be left of it after a loss of power: only what was synced is sure
/// (fsync(2)), of the rest any part in any order.
public struct DiskImage {
    /// What is left.
    public enum Survival: Sendable, CustomStringConvertible {
        /// The process died: everything it wrote is there.
        case everything
        /// The power failed: nothing that was not synced.
        case onlySynced
        /// The power failed: of what was not synced each sector as the seed says.
        case someSectors(seed: UInt64)

        public var description: String {
            switch self {
            case .everything: "process killed"
            case .onlySynced: "power lost, nothing unsynced left"
            case .someSectors(let seed): "power lost, sectors by seed \(seed)"
            }
        }
    }

    private enum Pending {
        case write(at: Int, [UInt8])
        case truncate(Int)
    }

    private struct File {
        var bytes: [UInt8] = []
        var durable: [UInt8] = []
        var isDurable = false
        var pending: [Pending] = []
    }

    private static let sectorSize = 512

    private var files: [String: File] = [:]
    /// Deleted, and the deletion may not have reached the disk.
    private var ghosts: [String: [UInt8]] = [:]
    private let ignoresSyncs: (String) -> Bool

    /// - Parameter ignoresSyncs: of which files the disk only claims that they are synced, by path.
    public init(ignoringSyncs ignoresSyncs: @escaping (String) -> Bool = { _ in false }) {
        self.ignoresSyncs = ignoresSyncs
    }

    public mutating func apply(_ change: FaultyDisk.Change) {
        switch change {
        case .opened(let path): if files[path] == nil { files[path] = File() }
        case .wrote(let path, let offset, let bytes):
            DiskImage.write(bytes, at: offset, into: &files[path, default: File()].bytes)
            files[path]?.pending.append(.write(at: offset, bytes))
        case .truncated(let path, let size):
            DiskImage.truncate(&files[path, default: File()].bytes, size)
            files[path]?.pending.append(.truncate(size))
        case .synced(let path):
            guard !ignoresSyncs(path), let file = files[path] else { return }
            if !file.isDurable, DiskImage.isLog(path) { syncDirectory() }
            files[path] = File(bytes: file.bytes, durable: DiskImage.all(of: file), isDurable: true)
            ghosts[path] = nil
        case .failedToSync(let path): files[path]?.pending.removeAll()
        case .deleted(let path, let isDurable):
            if let file = files.removeValue(forKey: path), file.isDurable, !isDurable { ghosts[path] = file.durable }
        case .reported: break
        }
    }

    /// The files that are left, by path.
    public func files(_ survival: Survival) -> [String: [UInt8]] {
        switch survival {
        case .everything: return files.mapValues(\.bytes)
        case .onlySynced:
            let durable = files.filter(\.value.isDurable).mapValues(\.durable)
            return durable.merging(ghosts) { present, _ in present }
        case .someSectors(let seed):
            var random = SplitMix(state: seed)
            var left: [String: [UInt8]] = [:]
            for (path, file) in files.sorted(by: { $0.key < $1.key }) {
                guard file.isDurable || random.coin() else { continue }
                left[path] = DiskImage.some(of: file, &random)
            }
            for (path, bytes) in ghosts.sorted(by: { $0.key < $1.key }) where left[path] == nil && random.coin() {
                left[path] = bytes
            }
            return left
        }
    }

    /// With the first sync of a new log SQLite syncs its directory: what is in it stays, what was deleted stays away.
    private mutating func syncDirectory() {
        for path in files.keys { files[path]?.isDurable = true }
        ghosts = [:]
    }

    private static func isLog(_ path: String) -> Bool { path.hasSuffix("-wal") || path.hasSuffix("-journal") }

    private static func all(of file: File) -> [UInt8] {
        var bytes = file.durable
        for pending in file.pending {
            switch pending {
            case .truncate(let size): truncate(&bytes, size)
            case .write(let offset, let written): write(written, at: offset, into: &bytes)
            }
        }
        return bytes
    }

    private static func some(of file: File, _ random: inout SplitMix) -> [UInt8] {
        var bytes = file.durable
        for pending in file.pending {
            switch pending {
            case .truncate(let size): if random.coin() { truncate(&bytes, size) }
            case .write(let offset, let written):
                var position = 0
                while position < written.count {
                    let end = min(written.count, position + sectorSize - (offset + position) % sectorSize)
                    if random.coin() { write(Array(written[position..<end]), at: offset + position, into: &bytes) }
                    position = end
                }
            }
        }
        return bytes
    }

    private static func write(_ new: [UInt8], at offset: Int, into bytes: inout [UInt8]) {
        if bytes.count < offset + new.count { truncate(&bytes, offset + new.count) }
        bytes.replaceSubrange(offset..<offset + new.count, with: new)
    }

    private static func truncate(_ bytes: inout [UInt8], _ size: Int) {
        if bytes.count > size {
            bytes.removeLast(bytes.count - size)
        } else {
            bytes += [UInt8](repeating: 0, count: size - bytes.count)
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
private struct SplitMix {
    var state: UInt64

    mutating func coin() -> Bool {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return (value ^ (value >> 31)) & 1 == 1
    }
}
