internal import Glibc

/// A system call that failed, with what it was for.
struct SystemFailure: Error, CustomStringConvertible {
    let operation: String
    let path: String
    let code: Int32

    init(_ operation: String, _ path: String) {
        self.operation = operation
        self.path = path
        code = errno
    }

    var description: String { "\(operation) \(path): \(String(cString: strerror(code)))" }
}

/// Lends the bytes of a whole file, mapped and not copied; `nil` when there is no such file.
func withContents<Result>(
    of path: String, _ body: (UnsafeBufferPointer<UInt8>) -> Result
) throws(SystemFailure) -> Result? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0, errno == ENOENT { return nil }
    guard descriptor >= 0 else { throw SystemFailure("open", path) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw SystemFailure("fstat", path) }
    let size = Int(status.st_size)
    guard size > 0 else { return body(UnsafeBufferPointer(start: nil, count: 0)) }
    guard let mapping = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), mapping != MAP_FAILED else {
        throw SystemFailure("mmap", path)
    }
    defer { munmap(mapping, size) }
    return body(UnsafeBufferPointer(start: mapping.assumingMemoryBound(to: UInt8.self), count: size))
}

/// Writes all bytes, however many calls it takes.
func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    bytes.withUnsafeBytes { buffer in
        var offset = 0
        while offset < buffer.count {
            let written = write(descriptor, buffer.baseAddress! + offset, buffer.count - offset)
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { return false }
            offset += written
        }
        return true
    }
}
