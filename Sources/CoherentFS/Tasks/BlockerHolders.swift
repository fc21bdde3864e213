import AttributeTree
import CLinux
import CoherentMemory
import Fuse
import Glibc
import Logging
import SystemPackage

/// What cannot be moved off a node, and the processes that map it.
struct HeldBlocker {
    let blocker: Blocker
    /// Those that map it, ascending.
    let holders: [Int32]
    /// Those that may map it, for they have it open and did not say, ascending.
    let suspects: [Int32]
    /// Whether others did not say what they map.
    let isIncomplete: Bool

    /// `PID,…` with `PID?` for who may map it, and `?` for who else did not say; `-` for nobody.
    func list(_ numbers: borrowing TaskNumbers) -> String {
        var words: [String] = []
        for process in holders { words.append("\(numbers[process])") }
        for process in suspects { words.append("\(numbers[process])?") }
        if isIncomplete { words.append("?") }
        return words.isEmpty ? "-" : words.joined(separator: ",")
    }
}

extension Services {
    /// What keeps a node from going offline, with the processes that map it.
    func heldBlockers(of node: CoherentMemory.Node) -> [HeldBlocker] {
        let blockers = machine.blockers(of: node)
        guard !blockers.isEmpty else { return [] }
        let answers = askProcesses()
        return blockers.map { blocker in
            let uses = answers.map { ($0.process.id, use($0, of: blocker)) }
            return HeldBlocker(
                blocker: blocker, holders: uses.filter { $0.1 == .maps }.map(\.0),
                suspects: uses.filter { $0.1 == .mayMap }.map(\.0), isIncomplete: uses.contains { $0.1 == .unknown })
        }
    }

    private func use(_ answer: ProcessAnswer, of blocker: Blocker) -> BufferUse {
        use(answer, of: blocker.buffer) { $0.overlaps(blocker.bytes) }
    }

    /// The lines of a `blockers` file.
    func blockerLines(of node: CoherentMemory.Node, for client: Client) -> String {
        let held = heldBlockers(of: node)
        guard !held.isEmpty else { return "" }
        let names = bufferNames
        let numbers = TaskNumbers(for: client)
        var text = ""
        for held in held {
            let blocker = held.blocker
            text += "0x\(String(blocker.physicalAddress, radix: 16)) 0x\(String(blocker.bytes.count, radix: 16)) "
            text += "\(blocker.reason.rawValue) \(names[blocker.buffer.id] ?? "(deleted)") \(held.list(numbers))\n"
        }
        return text
    }

    /// The names of the buffers as below buffers/, and `/dev/cdmN` for devices; blanks and the like in octal.
    private var bufferNames: [Buffer.ID: String] {
        var names = Dictionary(uniqueKeysWithValues: machine.devices.map { ($0.memory.id, "/dev/\($0.name)") })
        for (path, file) in buffers.withLock({ $0.directory })?.files() ?? [] { names[file.buffer.id] = escaped(path) }
        return names
    }

    private func escaped(_ path: String) -> String {
        String(
            decoding: path.utf8.flatMap { byte -> [UInt8] in
                guard byte <= 0x20 || byte == UInt8(ascii: "\\") || byte == 0x7f else { return [byte] }
                let digits = String(byte, radix: 8)
                return Array(("\\" + String(repeating: "0", count: 3 - digits.utf8.count) + digits).utf8)
            }, as: UTF8.self)
    }

    /// Takes a device away with what cannot be moved: the tasks that map that are killed, and what it held is lost
    /// (`force` of `remove`).
    ///
    /// - Throws: as ``Machine/remove(_:isForced:account:isCancelled:)``; EPERM where a task may not be killed.
    func removeByForce(_ device: Device, _ account: MigrationAccount, isCancelled: () -> Bool) throws(Errno) {
        // Somebody may pin more meanwhile, but not for ever.
        for attempt in 1... {
            do throws(Errno) {
                try machine.remove(device, isForced: true, account: account, isCancelled: isCancelled)
                return
            } catch {
                guard error == .resourceBusy, attempt < 8 else { throw error }
                let blockers = machine.blockers(of: device.node)
                guard !blockers.isEmpty else { throw error }
                try endUsers(of: blockers, of: device, isCancelled: isCancelled)
                machine.giveUpBlockers(of: device.node)
            }
        }
    }

    /// So long may processes take to end, tenths of a second.
    private static let patience = 10

    /// Kills the processes that use what cannot be moved, and waits for their end, after which they map nothing.
    ///
    /// Those that do not end are left behind: a thread may wait in the kernel for who never answers (fuse), but none runs its
    /// program any more, and what they map is lost to them as to others.
    private func endUsers(of blockers: [Blocker], of device: Device, isCancelled: () -> Bool) throws(Errno) {
        let users = askProcesses().filter { answer in
            blockers.contains { [.maps, .mayMap].contains(use(answer, of: $0)) }
        }
        var killed: [Killed] = []
        defer { for process in killed { close(process.end) } }
        for user in users {
            if let process = try kill(user.process, for: device) { killed.append(process) }
        }
        uevents.deliver()
        for _ in 0..<Self.patience {
            killed.removeAll { process in
                let hasEnded = process.hasEnded(within: 0)
                if hasEnded { close(process.end) }
                return hasEnded
            }
            guard let first = killed.first else { return }
            _ = first.hasEnded(within: 100)
            if isCancelled() { throw .interrupted }
        }
        for process in killed {
            logger.warning("process \(process.name) was killed and does not end: somebody keeps it in the kernel")
        }
    }

    /// A process that was killed.
    private struct Killed {
        /// Its number and name.
        let name: String
        /// A descriptor that is readable once it has ended.
        let end: Int32

        func hasEnded(within milliseconds: Int32) -> Bool {
            var entry = pollfd(fd: end, events: Int16(POLLIN), revents: 0)
            return unsafe poll(&entry, 1, milliseconds) > 0
        }
    }

    /// Kills a process that uses what cannot be moved off a device; nil where it does not any more.
    private func kill(_ process: TaskIdentity, for device: Device) throws(Errno) -> Killed? {
        let descriptor = pidfd_open(process.id, 0)
        guard descriptor >= 0 else {
            // It has ended by itself.
            if errno == ESRCH { return nil }
            throw Errno(rawValue: errno)
        }
        var isKilled = false
        defer { if !isKilled { close(descriptor) } }
        let name = ProcFile.read("/proc/\(process.id)/comm") { bytes in
            String(decoding: (0..<bytes.count).map { bytes[$0] }.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        }
        // Now that the descriptor stands for it, it is asked again whether it is the one that was meant.
        guard let name, processes.identity(of: process.id) == process else { return nil }
        let answer = ask(process)
        guard machine.blockers(of: device.node).contains(where: { [.maps, .mayMap].contains(use(answer, of: $0)) })
        else {
            return nil
        }
        guard pidfd_send_signal(descriptor, SIGKILL, nil, 0) == 0 else {
            if errno == ESRCH { return nil }
            throw Errno(rawValue: errno)
        }
        isKilled = true
        logger.warning(
            "\(device.name) is removed: killed process \(process.id) (\(name)), which maps memory of it that cannot move"
        )
        uevents.post {
            Uevent(
                action: "change", path: "/class/cdm/\(device.name)", subsystem: "cdm",
                details: [("KILLED", "\(process.id)"), ("COMM", name)])
        }
        return Killed(name: "\(process.id) (\(name))", end: descriptor)
    }
}
