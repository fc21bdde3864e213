import CLinux
import CoherentFS
import CoherentMemory
import Glibc
import LinuxSupport
import Logging
import SystemPackage

/// The life of the process that serves a mount, from its topology to its end.
struct Serving {
    let mountPoint: String
    let machine: MachineSource
    let options: MountWords
    let log: String?
    /// Where the process that started the daemon waits for it; `nil` in the foreground.
    let readyFD: Int32?
    /// Whether the mount is made by who waits at `readyFD`, a socket, and sent there.
    let isAdopting: Bool
    /// The process that the mount ends with; nil for none.
    let parent: pid_t?

    /// Serves until the mount is gone or a signal ends it.
    func run() throws(Failure) {
        // As a daemon it was started under the name of a link in /proc.
        try? SmallFile.write("cdmfs", to: "/proc/self/comm")
        if readyFD != nil { Daemon.detach() }
        do throws(Failure) {
            // Before there is any thread, so that they all leave these signals to the descriptor.
            let signals = try TerminationSignals()
            if let parent {
                _ = clinux_signal_with_parent(SIGTERM)
                // It may have ended before.
                if getppid() != parent {
                    throw Failure(.mount, "mount: \(mountPoint): the process it was for has ended")
                }
            }
            let logger = try makeLogger()
            let manager = readyFD == nil ? ServiceManager() : nil
            let topology = try machine.topology()
            try options.hardening.begin()
            let mount = try ServedMount(topology, at: try place(), options: options, logger: logger)
            options.hardening.finish(logger)
            logger.info("serving \(mountPoint)")
            manager?.ready(at: mountPoint)
            // While the process that starts the daemon still waits for it, and so sees the mount.
            let witness = Witness(at: mountPoint)
            if try isWanted() {
                let reason = wait(signals, mount, witness, logger)
                logger.info("\(mountPoint): \(reason)")
            }
            manager?.stopping()
            mount.close()
            // It was made for this mount.
            if isAdopting || parent != nil { _ = unsafe rmdir(mountPoint) }
        } catch {
            guard let readyFD else { throw error }
            _ = try? FileDescriptor(rawValue: readyFD).writeAll(Daemon.report(error).utf8)
            Glibc.exit(error.status.rawValue)
        }
    }

    /// Waits for the end of the mount, or for a reason to end it, which is returned.
    private func wait(
        _ signals: TerminationSignals, _ mount: ServedMount, _ witness: consuming Witness?, _ logger: Logger
    ) -> String {
        // Who runs it in the foreground, in a namespace of its own, may come in later.
        if readyFD == nil, let isThere = witness?.isThere, !isThere { witness = nil }
        while true {
            if let isThere = witness?.isThere, !isThere {
                do throws(Errno) {
                    try Witness.leaveMounts()
                    logger.info(
                        "\(mountPoint): no process can reach the mount any more; it is detached, and the daemon exits after its last user"
                    )
                } catch {
                    return "no process can reach the mount any more"
                }
                witness = nil
            }
            switch signals.wait(orFor: mount.ended, witness?.entries ?? []) {
            case .signal(let name): return name
            case .end: return "unmounted"
            case .other: witness?.check()
            }
        }
    }

    private func place() throws(Failure) -> ServedMount.Place {
        guard isAdopting, let readyFD else { return .directory(try checkedMountPoint()) }
        return .made(try MadeMount(receivedFrom: FileDescriptor(rawValue: readyFD)), at: mountPoint)
    }

    private func checkedMountPoint() throws(Failure) -> String {
        var status = Glibc.stat()
        guard unsafe stat(mountPoint, &status) == 0 else {
            let error = Errno.last
            let reason =
                error == .socketNotConnected ? "the daemon of a mount here has exited; unmount it first" : "\(error)"
            throw Failure(.mount, "mount: \(mountPoint): \(reason)")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw Failure(.mount, "mount: \(mountPoint): \(Errno.notDirectory)")
        }
        // fusermount3, which mounts for a user, would say so only to a stderr that a daemon has not.
        guard unsafe geteuid() == 0 || access(mountPoint, W_OK) == 0 else {
            throw Failure(.mount, "mount: \(mountPoint): \(Errno.last)")
        }
        let source = options.source ?? FileSystemOptions().source
        if !options.mayCover, let path = resolvedPath(mountPoint), let there = MountInfo.uppermost(at: FilePath(path)),
            there.isMachine, there.source == source
        {
            throw Failure(
                .mount,
                "mount: \(mountPoint): \(source) is mounted there already; unmount it, or mount over it with -o overmount"
            )
        }
        return mountPoint
    }

    private func makeLogger() throws(Failure) -> Logger {
        let output: LogOutput
        if let log {
            do {
                let file = try FileDescriptor.open(
                    FilePath(log), .writeOnly, options: [.create, .append, .closeOnExec],
                    permissions: [.ownerReadWrite, .groupRead, .otherRead])
                output = .file(file)
            } catch {
                throw Failure(.failure, "mount: \(log): \(error)")
            }
        } else {
            output = readyFD == nil ? .file(.standardError) : .syslog
        }
        // Without the filter of calls, the report of Swift or of a sanitizer works.
        if options.hardening.filtersCalls { CrashReport.begin(output) }
        return Logger(label: "cdmfs") { _ in LineLogHandler(output) }
    }

    /// Tells the process that waits that the mount answers; false if it has ended meanwhile and so wants no mount.
    private func isWanted() throws(Failure) -> Bool {
        guard let readyFD else { return true }
        guard unsafe chdir("/") == 0 else { throw Failure(.failure, "mount: /: \(Errno.last)") }
        let pipe = FileDescriptor(rawValue: readyFD)
        defer { try? pipe.close() }
        do {
            try pipe.writeAll(Daemon.ready.utf8)
            return true
        } catch {
            return false
        }
    }
}
