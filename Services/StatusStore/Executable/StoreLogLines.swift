import Model
internal import ServiceHost
internal import StatusStoreCore
internal import Storage
import Wire

extension Log {
    func write(_ log: StoreLog) {
        switch log {
        case .frameUnreadable(let error): event("store.frame_unreadable", .error, ["error": LogValue(error)])
        case .frameRefused(let claim):
            event(
                "store.frame_refused", .warning,
                [
                    "reconciler": LogValue(claim.instance), "partition": LogValue(claim.partition),
                    "epoch": LogValue(claim.epoch),
                ])
        case .commitFailed(let error, let frames):
            var members: [(key: String, value: LogValue)] = [("error", LogValue(error)), ("frames", LogValue(frames))]
            if let advice = error.kind.advice { members.append(("advice", LogValue(advice))) }
            event("store.commit_failed", .error, members)
        case .commitsAgain(let length): event("store.commits_again", .info, ["seconds": LogValue(length.seconds)])
        case .deadLetter(let stream, let seq, let error, let partitions):
            event(
                "store.dead_letter", .error,
                [
                    "stream": LogValue("\(stream.instance)/\(stream.incarnation)/\(stream.stream)"),
                    "seq": LogValue(seq), "error": LogValue(error),
                    "partitions": LogValue(partitions.map { String($0) }.joined(separator: ",")),
                ])
        case .partitionGranted(let partition, let epoch, let reconciler, let agents):
            event(
                "store.partition_granted", .debug,
                [
                    "partition": LogValue(partition), "epoch": LogValue(epoch), "reconciler": LogValue(reconciler),
                    "agents": LogValue(agents),
                ])
        case .grantReceived(let partition):
            event("store.grant_received", .debug, ["partition": LogValue(partition)])
        case .grantUnreadable(let partition, let reconciler, let error):
            event(
                "store.grant_unreadable", .error,
                ["partition": LogValue(partition), "reconciler": LogValue(reconciler), "error": LogValue(error)])
        case .publishRefused(let reason):
            event("store.publish_refused", .error, ["reason": LogValue(Int(reason))])
        case .publishFailed(let error): event("store.publish_failed", .error, ["error": LogValue(error)])
        case .accessRefused(let reason): event("store.access_refused", .error, ["reason": LogValue(Int(reason))])
        case .accessMissing: event("store.access_missing", .error)
        case .accessAnswers: event("store.access_answers")
        case .databaseWentBack(let published, let stored):
            event(
                "store.database_went_back", .error, ["published": .integer(published), "stored": .integer(stored)])
        case .republishingStatuses(let after, let last):
            event("store.republishing_statuses", .info, ["after": .integer(after), "up_to": .integer(last)])
        case .statusesRepublished: event("store.statuses_republished")
        case .readFailed(let error): event("store.read_failed", .error, ["error": LogValue(error)])
        case .tidyFailed(let error): event("store.tidy_failed", .warning, ["error": LogValue(error)])
        case .databaseFailed(let error): event("store.database_failed", .error, ["error": LogValue(error)])
        }
    }
}
