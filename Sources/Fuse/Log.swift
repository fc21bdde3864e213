internal import CFuse3
import LinuxSupport
import Logging

/// Where libfuse's own messages go: its log function is one for the process, and so is this.
enum Log {
    private struct State {
        var logger: Logger?
        var lastError: String?
    }

    private static let state = Monitor(State())

    /// Sends libfuse's messages to `logger` from now on.
    static func install(_ logger: Logger) {
        state.withLock { $0.logger = logger }
        unsafe cfuse3_set_log_line { level, line in
            guard let line = unsafe line else { return }
            var text = unsafe String(cString: line)
            while text.hasSuffix("\n") { text.removeLast() }
            if text.hasPrefix("fuse: ") { text.removeFirst(6) }
            Log.message(level, text)
        }
    }

    /// The newest error since the last call.
    static func takeLastError() -> String? {
        state.withLock { state in
            defer { state.lastError = nil }
            return state.lastError
        }
    }

    private static func message(_ level: Int32, _ text: String) {
        let logger = state.withLock { state in
            if level <= 3 { state.lastError = text }
            return state.logger
        }
        switch level {
        case ...2: logger?.critical("\(text)")
        case 3: logger?.debug("libfuse: \(text)")
        case 4: logger?.warning("\(text)")
        case 5: logger?.notice("\(text)")
        case 6: logger?.info("\(text)")
        default: logger?.debug("\(text)")
        }
    }
}
