internal import API
public import Alerts
public import ServiceHost

extension AlertSettings {
    /// Reads the configuration file of alerts.
    ///
    /// - Throws: what is wrong, with the file and the member.
    public static func read(_ path: String) throws(UsageError) -> AlertSettings {
        let bytes: [UInt8]
        do throws(FileFailure) {
            bytes = try SmallFile.read(path)
        } catch {
            throw UsageError("--alerts: \(error.reason)")
        }
        guard bytes.count <= AlertSettings.bytesMax else {
            throw UsageError("--alerts: \(path): is larger than \(AlertSettings.bytesMax) bytes")
        }
        do throws(JSONFault) {
            return try AlertSettings(bytes)
        } catch {
            throw UsageError("--alerts: \(path): \(error)")
        }
    }
}
