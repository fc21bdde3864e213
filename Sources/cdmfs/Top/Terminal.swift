import CLinux
import Foundation
import Glibc
import LinuxSupport
import MachineMonitor
import SystemPackage

/// What the environment says about the terminal.
struct TerminalSettings {
    private let environment = ProcessInfo.processInfo.environment

    /// Its colours.
    var colors: ColorDepth { ColorDepth(environment) }

    /// Whether it can only write one line after another.
    var isDumb: Bool { ["", "dumb"].contains(environment["TERM"] ?? "") }

    /// Whether it shows Unicode (locale(7)).
    var isUnicode: Bool {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].compactMap { environment[$0] }.first { !$0.isEmpty } ?? ""
        return locale.uppercased().contains("UTF-8") || locale.uppercased().contains("UTF8")
    }
}

/// The terminal of standard input and output: its keys, its size, and a screen of its own for the view.
struct Terminal {
    // ECMA-48 and xterm: the other screen, no cursor, no wrapping; and back. tmux leaves what stands there if it was resized meanwhile.
    private static let enterText: StaticString = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l"
    private static let leaveText: StaticString = "\u{1b}[0m\u{1b}[2J\u{1b}[H\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l"

    /// Whether it can only write one line after another.
    let isDumb: Bool

    /// Has keys come at once, and shows another screen.
    ///
    /// - Throws: errors of tcsetattr(3).
    func enter() throws(Errno) {
        try SystemCall.check(
            unsafe clinux_enter_terminal(
                STDOUT_FILENO, Self.pointer(isDumb ? "" : Self.enterText), Self.pointer(isDumb ? "" : Self.leaveText)))
    }

    /// A literal, which lasts as long as the process, as C has it.
    private static func pointer(_ text: StaticString) -> UnsafePointer<CChar> {
        unsafe UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
    }

    /// Undoes that.
    func leave() { clinux_leave_terminal() }

    /// Columns and rows; 80 and 24 where the terminal does not say.
    var size: (width: Int, height: Int) {
        var size = winsize()
        guard unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else {
            return (80, 24)
        }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    /// Writes all of a text.
    ///
    /// - Throws: errors of write(2).
    func write(_ text: String) throws {
        if !text.isEmpty { try FileDescriptor.standardOutput.writeAll(text.utf8) }
    }

    /// The bytes of the keys that were pressed; empty at the end of input.
    func read() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 1024)
        let count = (try? SystemCall.retry { unsafe Glibc.read(STDIN_FILENO, &bytes, bytes.count) }) ?? 0
        return Array(bytes[..<count])
    }
}
