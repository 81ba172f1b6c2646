/// One family of numbers that a service tells its administrator, as Prometheus and OpenMetrics have it.
public struct Metric: Sendable {
    public enum Kind: String, Sendable { case counter, gauge, histogram }

    public typealias Labels = [(name: String, value: String)]

    public struct Sample: Sendable {
        /// What its name has behind the family's.
        public let suffix: String
        public let labels: Labels
        public let value: Double
    }

    /// Of a counter without its `_total`.
    public let name: String
    public let kind: Kind
    /// One sentence.
    public let help: String
    public private(set) var samples: [Sample] = []

    /// - Parameter samples: none at all: it is not told.
    public init(_ name: String, _ kind: Kind, _ help: String, _ samples: [(labels: Labels, value: Double)]) {
        self.name = name
        self.kind = kind
        self.help = help
        let suffix = kind == .counter ? "_total" : ""
        self.samples = samples.map { Sample(suffix: suffix, labels: $0.labels, value: $0.value) }
    }

    public init(_ name: String, _ kind: Kind, _ help: String, _ value: Double) {
        self.init(name, kind, help, [([], value)])
    }

    /// One sample for each value that the label can have.
    public init<Value: RawRepresentable<String> & CaseIterable>(
        _ name: String, _ kind: Kind, _ help: String, by label: String, _ count: (Value) -> Int64
    ) {
        self.init(name, kind, help, Value.allCases.map { ([(label, $0.rawValue)], Double(count($0))) })
    }

    /// How often what took how long, or was how large.
    public init(_ name: String, _ help: String, _ histograms: [(labels: Labels, histogram: Histogram)]) {
        self.init(name, .histogram, help, [])
        for (labels, histogram) in histograms {
            var count: Int64 = 0
            for (index, classCount) in histogram.counts.enumerated() {
                count += classCount
                let bound = index < histogram.bounds.count ? String(histogram.bounds[index]) : "+Inf"
                samples.append(Sample(suffix: "_bucket", labels: labels + [("le", bound)], value: Double(count)))
            }
            samples.append(Sample(suffix: "_sum", labels: labels, value: histogram.sum))
            samples.append(Sample(suffix: "_count", labels: labels, value: Double(count)))
        }
    }

    public init(_ name: String, _ help: String, _ histogram: Histogram) {
        self.init(name, help, [([], histogram)])
    }
}

extension Metric {
    /// Frames that wait for their receivers' acknowledgements, by the kind of their stream.
    public static func unacknowledged(_ counts: [(stream: String, count: Int64)]) -> Metric {
        Metric(
            "rollcall_stream_unacknowledged", .gauge, "Frames whose receivers have not acknowledged them.",
            counts.map { ([("stream", $0.stream)], Double($0.count)) })
    }
}
