internal import CDashboard
internal import ControlAPICore

extension DashboardFile {
    /// All files of the dashboard, copied out of the program.
    static var all: [DashboardFile] {
        (0..<rollcall_dashboard_count()).map { index in
            let file = rollcall_dashboard_file(index)
            return DashboardFile(
                path: String(cString: file.path), type: String(cString: file.type),
                bytes: Array(UnsafeBufferPointer(start: file.bytes, count: file.size)))
        }
    }
}
