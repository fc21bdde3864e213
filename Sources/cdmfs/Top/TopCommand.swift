import ArgumentParser
import Glibc
import LinuxSupport
import MachineMonitor
import SystemPackage

/// `cdmfs top`
struct TopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top",
        abstract: "Watch the memory of a machine in a terminal.",
        discussion: """
            Shows nodes by memory tier with their watermarks, faults, flows of pages between nodes, links, the hottest buffers and \
            tasks, the map of a buffer, and events. The key ? explains the keys and the figures.

            It reads counters, which every user may read: sys/kernel/cdm/metrics and, for the buffers that you may see, \
            sys/kernel/cdm/bufferinfo. Root sees the tasks and what happens to pages, too: while the view is open each event \
            costs the machine as much as a traced one. The settings of sys/kernel/cdm/trace stay as they are.

            --once prints all panels as plain text, with rates over one interval.

            Colours follow TERM and COLORTERM; NO_COLOR switches them off. With TERM=dumb the view is plain text, a frame \
            after another. Without UTF-8 in LC_ALL, LC_CTYPE or LANG it is ASCII.

            Exit status: 0 on success, 32 if no machine is mounted at the given place or it ends meanwhile, 64 for wrong usage, \
            such as a standard input or output that is no terminal. SIGINT (Ctrl-C), SIGTERM and SIGHUP end it as they end any program.
            """)

    @Argument(
        help: "Where the machine is mounted. Optional if only one machine is mounted.", completion: .mountPoints)
    var mountpoint: String?

    @Option(
        help: ArgumentHelp("Seconds from one look at the machine to the next, from 0.1 to 3600.", valueName: "seconds"))
    var interval = 1.0

    @Flag(help: "Print one frame as plain text, and exit.")
    var once = false

    func run() throws {
        guard (0.1...3600).contains(interval) else {
            throw Failure(.usage, "top: --interval \(interval): expected 0.1 to 3600 seconds")
        }
        if !once {
            for (descriptor, name) in [(STDOUT_FILENO, "output"), (STDIN_FILENO, "input")] where isatty(descriptor) != 1
            {
                throw Failure(.usage, "top: standard \(name) is not a terminal; --once prints one frame as text")
            }
        }
        let path = try mountpoint ?? onlyMount(for: "top")
        let nanoseconds = UInt64(interval * 1e9)
        do {
            if once {
                try printPage(of: FilePath(path), interval: nanoseconds)
            } else {
                try MachineMonitorView.run(FilePath(path), interval: nanoseconds)
            }
        } catch let error as Errno {
            throw Failure(
                .mount, "top: \(path): \(error == .noSuchFileOrDirectory ? "no machine is mounted here" : "\(error)")")
        }
    }

    /// A frame of the rates over one interval, with the whole map of the hottest buffer.
    private func printPage(of mount: FilePath, interval: UInt64) throws(Errno) {
        var reader = MachineReader(mount)
        _ = try reader.sample(interval: interval)
        SystemThread.sleep(for: .nanoseconds(interval))
        var snapshot = try reader.sample(interval: interval)
        let state = ViewState()
        if let request = state.mapRequest(of: snapshot) {
            repeat {
                snapshot = reader.setMap(request, interval: interval)
            } while snapshot.map?.isWhole == false
        }
        print(Screen(snapshot, state, CellText(isUnicode: TerminalSettings().isUnicode)).page, terminator: "")
    }
}

extension ViewState {
    /// The map that is to be shown.
    func mapRequest(of snapshot: Snapshot) -> MapRequest? {
        buffer(of: snapshot).map { buffer in
            MapRequest(
                buffer: buffer.id, name: buffer.figures.name, range: mapRange(ofSize: buffer.figures.size))
        }
    }
}
