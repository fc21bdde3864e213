import CLinux
import CoherentMemory
import Fuse
import Glibc
import Logging
import SystemPackage

/// What cannot be moved off a node, and the processes that map it.
struct HeldBlocker {
    let blocker: Blocker
    /// Ascending.
    let processes: [Int32]
}

extension Services {
    /// What keeps a node from going offline, with the processes that map it: ascending by physical address, from one on, and
    /// `limit` at most.
    ///
    /// May wait for whoever has an address space locked: not for those who serve requests.
    func heldBlockers(
        of node: CoherentMemory.Node, from address: UInt64 = 0, limit: Int = .max
    ) -> [HeldBlocker] {
        let blockers = machine.blockers(of: node, from: address, limit: limit)
        guard !blockers.isEmpty else { return [] }
        let mapped = processes.processes.sorted().map { process in
            (process, (try? mappings(of: process)) ?? [])
        }.filter { !$0.1.isEmpty }
        return blockers.map { blocker in
            HeldBlocker(
                blocker: blocker,
                processes: mapped.filter { _, mappings in
                    mappings.contains { $0.file.buffer === blocker.buffer && $0.bytes.overlaps(blocker.bytes) }
                }.map(\.0))
        }
    }

    /// Takes a device away with what cannot be moved: the tasks that map that are killed, and what it held is lost
    /// (`force` of `remove`).
    ///
    /// - Throws: as ``Machine/remove(_:isForced:account:isCancelled:)``; EPERM where a task may not be killed, EBUSY where
    ///   one does not end.
    func removeByForce(_ device: Device, _ account: MigrationAccount, isCancelled: () -> Bool) throws(Errno) {
        // Somebody may pin more meanwhile, but not for ever.
        for attempt in 1... {
            do throws(Errno) {
                try machine.remove(device, isForced: true, account: account, isCancelled: isCancelled)
                return
            } catch {
                let held = heldBlockers(of: device.node)
                guard error == .resourceBusy, attempt < 8, !held.isEmpty else { throw error }
                for process in Set(held.flatMap(\.processes)).sorted() {
                    try end(process, for: device, isCancelled: isCancelled)
                }
                machine.giveUpBlockers(of: device.node)
            }
        }
    }

    /// Kills a process and waits for its end, after which it maps nothing.
    private func end(_ process: Int32, for device: Device, isCancelled: () -> Bool) throws(Errno) {
        let descriptor = pidfd_open(process, 0)
        guard descriptor >= 0 else {
            // It has ended by itself.
            if errno == ESRCH { return }
            throw Errno(rawValue: errno)
        }
        defer { close(descriptor) }
        let name = ProcFile.read("/proc/\(process)/comm") { bytes in
            String(decoding: (0..<bytes.count).map { bytes[$0] }.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        }
        // Now that the descriptor stands for it, it is asked again whether it is the one that was meant.
        guard let name, let mappings = try? mappings(of: process),
            machine.blockers(of: device.node).contains(where: { blocker in
                mappings.contains { $0.file.buffer === blocker.buffer && $0.bytes.overlaps(blocker.bytes) }
            })
        else { return }
        guard pidfd_send_signal(descriptor, SIGKILL, nil, 0) == 0 else {
            if errno == ESRCH { return }
            throw Errno(rawValue: errno)
        }
        logger.warning(
            "\(device.name) is removed: killed process \(process) (\(name)), which maps memory of it that cannot move")
        uevents.post {
            Uevent(
                action: "change", path: "/class/cdm/\(device.name)", subsystem: "cdm",
                details: [("KILLED", "\(process)"), ("COMM", name)])
        }
        uevents.deliver()
        for _ in 0..<100 {
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            if unsafe poll(&entry, 1, 100) > 0 { return }
            if isCancelled() { throw .interrupted }
        }
        throw .resourceBusy
    }
}
