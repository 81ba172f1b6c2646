public import Bus

extension ServiceRuntime {
    /// Logs each frame of these streams that is too large to be published: whoever waits for it will wait for ever.
    public func watch<Body>(_ outlet: StreamOutlet<Body>) {
        outlet.frameTooLarge = { [unowned self] stream, seq, bytes in
            log.event(
                "stream.frame_too_large", .error,
                ["stream": LogValue(stream), "seq": LogValue(seq), "bytes": LogValue(bytes)])
        }
    }
}
