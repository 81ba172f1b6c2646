public import API

/// One series of numbers that a service tells its administrator, as Prometheus and OpenMetrics have it.
struct Metric {
    enum Kind: String { case counter, gauge, histogram }

    /// Of a counter without its `_total`.
    let name: String
    let kind: Kind
    let help: String
    /// Each with what its name has behind the metric's, and with what stands between the braces, `result="woken"`.
    private(set) var samples: [(suffix: String, labels: String, value: Double)] = []

    init(_ name: String, _ kind: Kind, _ help: String, _ samples: [(labels: String, value: Double)]) {
        self.name = name
        self.kind = kind
        self.help = help
        for (labels, value) in samples { add(labels, value) }
    }

    init(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
        self.init(name, kind, help, [("", value)])
    }

    init(_ duration: DurationMetric) {
        self.init(duration.name, .histogram, duration.help, [])
        for (labels, histogram) in duration.histograms {
            var count: Int64 = 0
            for (index, classCount) in histogram.counts.enumerated() {
                count += classCount
                let bound = index < histogram.bounds.count ? String(histogram.bounds[index]) : "+Inf"
                samples.append(("_bucket", (labels.isEmpty ? "" : labels + ",") + "le=\"\(bound)\"", Double(count)))
            }
            samples += [("_sum", labels, histogram.sum), ("_count", labels, Double(count))]
        }
    }

    mutating func add(_ labels: String, _ value: Double) {
        samples.append((kind == .counter ? "_total" : "", labels, value))
    }

    enum Format {
        /// Prometheus' text format 0.0.4.
        case text
        /// OpenMetrics 1.0.
        case openMetrics

        /// The one that a client accepts; the text format unless it names the other.
        init(accepting accept: String?) {
            self = accept?.contains("application/openmetrics-text") == true ? .openMetrics : .text
        }

        var contentType: String {
            switch self {
            case .text: "text/plain; version=0.0.4; charset=utf-8"
            case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
            }
        }
    }

    static func text(_ metrics: [Metric], _ format: Format) -> String {
        var text = ""
        for metric in metrics where !metric.samples.isEmpty {
            // OpenMetrics names the family without the suffix, the older format that of a counter with it.
            let family = metric.name + (format == .text && metric.kind == .counter ? "_total" : "")
            text += "# HELP \(family) \(metric.help)\n# TYPE \(family) \(metric.kind.rawValue)\n"
            for (suffix, labels, value) in metric.samples {
                let number = Int64(exactly: value).map { String($0) } ?? String(value)
                text += "\(metric.name)\(suffix)\(labels.isEmpty ? "" : "{\(labels)}") \(number)\n"
            }
        }
        return format == .openMetrics ? text + "# EOF\n" : text
    }
}

/// How long something of a service takes, as one metric.
public struct DurationMetric {
    let name: String
    let help: String
    /// Each with what stands between the braces, `method="GET"`.
    let histograms: [(labels: String, Histogram)]

    public init(_ name: String, _ help: String, _ histograms: [(labels: String, Histogram)]) {
        self.name = name
        self.help = help
        self.histograms = histograms
    }

    public init(_ name: String, _ help: String, _ histogram: Histogram) {
        self.init(name, help, [("", histogram)])
    }
}
