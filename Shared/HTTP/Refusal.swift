internal import API

/// Why a request never reaches the program: its framing or its target is broken, it is too large, or its client lacks a
/// certificate.
struct Refusal: Error, Hashable {
    let status: Int
    let detail: String

    init(_ detail: String, status: Int = 400) {
        self.status = status
        self.detail = detail
    }

    /// The answer, after which the connection is closed: where the next request begins is not known.
    var response: HTTPResponse {
        var response = HTTPResponse(problem: status, title, detail)
        if status == Problem.Kind.tooLarge.status { response.body = JSON.bytes(Problem(.tooLarge, detail)) }
        response.headers.append(.init("Connection", "close"))
        return response
    }

    private var title: String {
        switch status {
        case 403: "Forbidden"
        case 505: "HTTP Version Not Supported"
        default: "Bad Request"
        }
    }
}
