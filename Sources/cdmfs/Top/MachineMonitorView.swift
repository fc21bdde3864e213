import CLinux
import Glibc
import LinuxSupport
import MachineMonitor
import SystemPackage

/// The live view: takes keys and signals, and draws what the sampler has.
struct MachineMonitorView {
    private let mount: FilePath
    private let sampler: Sampler
    private let terminal: Terminal
    private let signals: FileDescriptor
    private let cells: CellText
    private var renderer: Renderer
    private var state = ViewState()
    private var decoder = KeyDecoder()
    private var snapshot = Snapshot()

    /// Why the view is over.
    private enum End {
        case quit
        case signal(Int32)
        case machine(Errno)
    }

    /// Shows a machine until the user has seen enough.
    ///
    /// - Throws: why the machine cannot be read at the start; ``Failure`` is for its end.
    static func run(_ mount: FilePath, interval: UInt64) throws {
        let sampler = try Sampler(mount, interval: interval)
        let settings = TerminalSettings()
        let cells = CellText(isUnicode: settings.isUnicode)
        var view = MachineMonitorView(
            mount: mount, sampler: sampler, terminal: Terminal(isDumb: settings.isDumb),
            signals: try TerminationSignals.descriptor(and: [SIGWINCH, SIGTSTP, SIGCONT]), cells: cells,
            renderer: Renderer(settings.colors, cells))
        try view.terminal.enter()
        let end = view.loop()
        view.terminal.leave()
        switch end {
        case .quit: break
        case .signal(let signal): SupervisedCommand.Ending.signalled(signal).imitate()
        case .machine(let error):
            throw Failure(.mount, "top: \(mount): the machine has ended (\(error))")
        }
    }

    /// How often a machine that does not answer is looked at.
    private static let patience: Int32 = 1000
    /// The seconds without an answer that the user is told of.
    private static let silence = 2.0

    private mutating func loop() -> End {
        while true {
            var entries = [STDIN_FILENO, signals.rawValue, sampler.news.rawValue].map {
                pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
            }
            let count = (try? SystemCall.retry { unsafe poll(&entries, UInt(entries.count), Self.patience) }) ?? 0
            if entries[1].revents != 0, let end = takeSignal() { return end }
            if entries[2].revents != 0 {
                Sampler.take(sampler.news)
                if let error = sampler.failure { return .machine(error) }
                if let new = sampler.snapshot { snapshot = new }
            }
            if entries[0].revents != 0 {
                let bytes = terminal.read()
                // The terminal is gone.
                if bytes.isEmpty { return .signal(SIGHUP) }
                for key in decoder.keys(bytes) {
                    let page = max(1, terminal.size.height / 2)
                    switch state.press(key, snapshot, pageLength: page) {
                    case .quit: return .quit
                    case .redraw: renderer.forget()
                    case .changed, .nothing: break
                    }
                }
                sampler.setPaused(state.isPaused)
            }
            sampler.setMap(state.mapRequest(of: snapshot))
            // A dumb terminal gets a frame for each sample, not for each key.
            if terminal.isDumb, entries[2].revents == 0 { continue }
            if count == 0, sampler.silence < Self.silence { continue }
            do {
                try draw()
            } catch {
                return .signal(SIGHUP)
            }
        }
    }

    private mutating func draw() throws {
        let silence = sampler.silence
        let notice = silence >= Self.silence ? "no answer for \(Int(silence)) s" : nil
        let screen = Screen(snapshot, state, cells, notice: notice)
        if terminal.isDumb {
            try terminal.write(screen.page + "\n")
            return
        }
        let (width, height) = terminal.size
        try terminal.write(renderer.text(screen.frame(width: width, height: height), width: width, height: height))
    }

    /// What a signal means.
    private mutating func takeSignal() -> End? {
        var info = signalfd_siginfo()
        guard
            let count = unsafe withUnsafeMutableBytes(of: &info, { unsafe try? signals.read(into: $0) }), count > 0
        else { return nil }
        switch Int32(info.ssi_signo) {
        case SIGWINCH: break
        case SIGTSTP: stop()
        case SIGCONT:
            // It was stopped by SIGSTOP; meanwhile the terminal was another program's.
            terminal.leave()
            try? terminal.enter()
            renderer.forget()
        case let signal: return .signal(signal)
        }
        return nil
    }

    /// Gives the terminal back, stops as SIGTSTP has it, and goes on after SIGCONT.
    private mutating func stop() {
        terminal.leave()
        var set = sigset_t()
        unsafe sigemptyset(&set)
        unsafe sigaddset(&set, SIGTSTP)
        raise(SIGTSTP)
        unsafe sigprocmask(SIG_UNBLOCK, &set, nil)
        // Here again. Until it is in the foreground, a look at the terminal stops it once more.
        unsafe sigprocmask(SIG_BLOCK, &set, nil)
        try? terminal.enter()
        renderer.forget()
    }
}
