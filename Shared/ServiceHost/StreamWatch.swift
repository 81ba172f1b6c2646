public import Bus

extension ServiceRuntime {
    /// Logs each frame that is too large to be published: whoever waits for it will wait for ever.
    public func watch(_ publisher: FramePublisher) {
        publisher.frameTooLarge = { [unowned self] stream, seq, bytes in
            log.event(
                "stream.frame_too_large", .error,
                ["stream": LogValue(stream), "seq": LogValue(seq), "bytes": LogValue(bytes)])
        }
    }
}
