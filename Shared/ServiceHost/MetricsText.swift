internal import API

/// The two text forms of metrics.
enum MetricsText {
    /// Prometheus' text format 0.0.4.
    case prometheus
    /// OpenMetrics 1.0.
    case openMetrics

    /// The one that a client accepts; Prometheus' unless it names the other.
    init(accepting accept: String?) {
        self = accept?.contains("application/openmetrics-text") == true ? .openMetrics : .prometheus
    }

    var contentType: String {
        switch self {
        case .prometheus: "text/plain; version=0.0.4; charset=utf-8"
        case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
        }
    }

    func text(of metrics: [Metric]) -> String {
        var text = ""
        for metric in metrics where !metric.samples.isEmpty {
            // OpenMetrics names the family without the suffix, the older format that of a counter with it.
            let family = metric.name + (self == .prometheus && metric.kind == .counter ? "_total" : "")
            text += "# HELP \(family) \(metric.help)\n# TYPE \(family) \(metric.kind.rawValue)\n"
            for sample in metric.samples {
                let number = Int64(exactly: sample.value).map { String($0) } ?? String(sample.value)
                text += "\(metric.name)\(sample.suffix)\(MetricsText.braces(sample.labels)) \(number)\n"
            }
        }
        return self == .openMetrics ? text + "# EOF\n" : text
    }

    private static func braces(_ labels: Metric.Labels) -> String {
        guard !labels.isEmpty else { return "" }
        return "{" + labels.map { "\($0.name)=\"\(escaped($0.value))\"" }.joined(separator: ",") + "}"
    }

    private static func escaped(_ value: String) -> String {
        value.reduce(into: "") { text, character in
            switch character {
            case "\\", "\"": text += "\\\(character)"
            case "\n": text += "\\n"
            default: text.append(character)
            }
        }
    }
}
