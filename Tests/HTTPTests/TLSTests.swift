import API
import FoundationEssentials
import Glibc
import HTTP
import Testing

/// Certificates made by `openssl`, in a directory of their own.
private final class Certificates {
    let directory: String

    init() throws {
        var template = Array("/tmp/rollcall-tls-XXXXXX".utf8CString)
        directory = try #require(mkdtemp(&template).map { String(cString: $0) })
        try run(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost "
                + "-addext subjectAltName=IP:127.0.0.1 -keyout \(directory)/key -out \(directory)/certificate")
    }

    /// One that another has signed, for this use.
    init(use: String, of authority: Certificates) throws {
        var template = Array("/tmp/rollcall-tls-XXXXXX".utf8CString)
        directory = try #require(mkdtemp(&template).map { String(cString: $0) })
        try run(
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=c -keyout \(directory)/key "
                + "-out \(directory)/request")
        try run("printf extendedKeyUsage=\(use) | tee \(directory)/use")
        try run(
            "openssl x509 -req -in \(directory)/request -CA \(authority.directory)/certificate "
                + "-CAkey \(authority.directory)/key -CAcreateserial -days 1 -extfile \(directory)/use "
                + "-out \(directory)/certificate")
    }

    deinit {
        try? FileManager.default.removeItem(atPath: directory)  // what is left in /tmp harms nobody
    }

    func bytes(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(filePath: "\(directory)/\(name)")))
    }

    func run(_ command: String) throws {
        let status = system("\(command) >\(directory)/output 2>&1")
        try #require(status == 0, "\(command): \(String(decoding: (try? bytes("output")) ?? [], as: UTF8.self))")
    }
}

struct TLSTests {
    /// Runs `curl` beside the stage; its exit status and what it printed.
    private func curl(_ arguments: String, on stage: Stage, _ certificates: Certificates) throws -> (
        status: Int, text: String
    ) {
        let done = "\(certificates.directory)/done"
        unlink(done)
        let url = "https://127.0.0.1:\(stage.server.port)/a"
        system(
            "(curl -sS --max-time 15 \(arguments) \(url) >\(done).text 2>&1; echo $? >\(done).new; mv \(done).new \(done)) &"
        )
        try stage.wait("curl") { access(done, F_OK) == 0 }
        let status = String(decoding: try certificates.bytes("done"), as: UTF8.self).prefix { $0.isNumber }
        return (Int(status) ?? -1, String(decoding: try certificates.bytes("done.text"), as: UTF8.self))
    }

    @Test("TLS carries requests, to those who trust the certificate alone")
    func roundTrip() throws {
        let certificates = try Certificates()
        let (certificate, key) = (try certificates.bytes("certificate"), try certificates.bytes("key"))
        let stage = try Stage { $0.tls = .init(certificate: certificate, key: key) }
        let trust = "--cacert \(certificates.directory)/certificate"
        #expect(try curl("\(trust) -d hello", on: stage, certificates) == (0, "served"))
        #expect(stage.requests.map(\.body) == [Array("hello".utf8)])
        #expect(try curl("", on: stage, certificates).status == 60)
        let plain = TestClient(on: stage.loop, port: stage.server.port)
        plain.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        try stage.wait("the end") { plain.isClosed }
        #expect(stage.requests.count == 1)
    }

    @Test("Where clients need a certificate, one from the authority is needed")
    func clients() throws {
        let (certificates, strangers) = (try Certificates(), try Certificates())
        let (certificate, key) = (try certificates.bytes("certificate"), try certificates.bytes("key"))
        let stage = try Stage { $0.tls = .init(certificate: certificate, key: key, clientAuthority: certificate) }
        let trust = "--cacert \(certificates.directory)/certificate"
        func own(_ certificates: Certificates) -> String {
            "--cert \(certificates.directory)/certificate --key \(certificates.directory)/key"
        }
        #expect(try curl("\(trust) \(own(certificates))", on: stage, certificates) == (0, "served"))
        let none = try curl("-w %{http_code} \(trust)", on: stage, certificates)
        #expect(none.text.contains("a client certificate is required") && none.text.hasSuffix("403"))
        let other = try curl("-w %{http_code} \(trust) \(own(strangers))", on: stage, certificates)
        #expect(other.text.contains("of another authority") && other.text.hasSuffix("403"))
        // One of a server is none of a client.
        let servers = try Certificates(use: "serverAuth", of: certificates)
        #expect(try curl("-w %{http_code} \(trust) \(own(servers))", on: stage, certificates).text.hasSuffix("403"))
        #expect(stage.requests.count == 1)
    }

    @Test("A key that does not fit is named at the start")
    func wrongKey() throws {
        let (certificates, strangers) = (try Certificates(), try Certificates())
        let (certificate, key) = (try certificates.bytes("certificate"), try strangers.bytes("key"))
        #expect(throws: HTTPFailure.self) { _ = try Stage { $0.tls = .init(certificate: certificate, key: key) } }
        #expect(throws: HTTPFailure.self) { _ = try Stage { $0.tls = .init(certificate: [1, 2], key: key) } }
    }
}
