import AttributeTree
import CLinux
import CoherentMemory
import Glibc
import LinuxSupport
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

    /// `PID,…` with `PID?` for who may map it, and `?` for processes that could not be read; `-` for none.
    func list(_ numbers: borrowing TaskNumbers) -> String {
        var words: [String] = []
        for process in holders { words.append("\(numbers[process])") }
        for process in suspects { words.append("\(numbers[process])?") }
        if isIncomplete { words.append("?") }
        return words.isEmpty ? "-" : words.joined(separator: ",")
    }
}

extension TreeServices {
    /// What keeps a node from going offline, with the processes that map it: ascending by physical address, from one on, and
    /// `limit` at most.
    func heldBlockers(
        of node: CoherentMemory.Node, from address: UInt64 = 0, limit: Int = .max
    ) -> [HeldBlocker] {
        let blockers = machine.blockers(of: node, from: address, limit: limit)
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

    /// Takes a device away with what cannot be moved: the tasks that map that are killed, and what it held is lost
    /// (`force` of `remove`).
    ///
    /// - Throws: as ``Machine/remove(_:isForced:account:isCancelled:)``; EPERM where a task may not be killed.
    func removeByForce(_ device: Device, _ account: MigrationAccount, isCancelled: () -> Bool) throws(Errno) {
        // Programs may pin more meanwhile, but not for ever.
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
    private static let maximumAttempts = 10

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
        for _ in 0..<Self.maximumAttempts {
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
            logger.warning(
                "process \(process.name) was killed but does not end, because it is blocked in the kernel; its pages are lost"
            )
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
            if Errno.last == .noSuchProcess { return nil }
            throw Errno.last
        }
        var isKilled = false
        defer { if !isKilled { close(descriptor) } }
        let name = ProcFile.name(of: process.id)
        // Now that the descriptor stands for it, it is asked again whether it is the one that was meant.
        guard let name, processes.identity(of: process.id) == process else { return nil }
        let answer = ask(process)
        guard machine.blockers(of: device.node).contains(where: { [.maps, .mayMap].contains(use(answer, of: $0)) })
        else {
            return nil
        }
        let told = ToldTask(process.id)
        guard pidfd_send_signal(descriptor, SIGKILL, nil, 0) == 0 else {
            if Errno.last == .noSuchProcess { return nil }
            throw Errno.last
        }
        isKilled = true
        logger.warning(
            "\(device.name) is removed: killed process \(process.id) (\(name)), which maps memory of the device that cannot move"
        )
        uevents.post {
            Uevent(
                action: "change", place: .text("/class/cdm/\(device.name)"), subsystem: "cdm",
                details: [("KILLED", .task(told)), ("COMM", .text(name))])
        }
        return Killed(name: "\(process.id) (\(name))", end: descriptor)
    }
}
