import CLinux
import CoherentMemory
import Glibc
import LinuxSupport
import Logging
import SystemPackage

extension TreeServices {
    /// Tells of memory that was lost with a device's link, and does to the tasks that map it what the device's policy says.
    func reportLoss(_ lost: [LostMemory], of device: Device) {
        for memory in lost {
            let buffer = files.name(of: memory.buffer.id)
            uevents.post {
                Uevent(
                    action: "change", place: .text("/class/cdm/\(device.name)"), subsystem: "cdm",
                    details: [
                        ("CDM_EVENT", .text("lost")), ("BUFFER", buffer), ("LENGTH", .text(hex(memory.length))),
                    ])
            }
        }
        switch device.onLoss {
        case .touch: break
        case .sigbus: signal(SIGBUS, whoMaps: lost, of: device)
        case .sigkill: signal(SIGKILL, whoMaps: lost, of: device)
        }
        uevents.deliver()
    }

    private func signal(_ signal: Int32, whoMaps lost: [LostMemory], of device: Device) {
        for answer in askProcesses() where uses(answer, lost, of: device) {
            let process = answer.process
            let descriptor = pidfd_open(process.id, 0)
            guard descriptor >= 0 else { continue }
            defer { close(descriptor) }
            // Now that the descriptor stands for it, it is asked again whether it is the one that was meant.
            guard processes.identity(of: process.id) == process, uses(ask(process), lost, of: device) else { continue }
            let told = ToldTask(process.id)
            guard pidfd_send_signal(descriptor, signal, nil, 0) == 0 else {
                logger.warning(
                    "cannot send signal \(signal) to process \(process.id): \(Errno.last); it maps lost memory")
                continue
            }
            uevents.post {
                Uevent(
                    action: "change", place: .text("/class/cdm/\(device.name)"), subsystem: "cdm",
                    details: [
                        ("CDM_EVENT", .text("signalled")), ("PID", .task(told)), ("SIGNAL", .text("\(signal)")),
                    ])
            }
        }
    }

    /// Whether a process maps memory that is lost, pages of a buffer or any of the device's file; or may, for it has that open
    /// and does not say.
    private func uses(_ answer: ProcessAnswer, _ lost: [LostMemory], of device: Device) -> Bool {
        func isUse(_ use: BufferUse) -> Bool { use == .maps || use == .mayMap }
        return isUse(use(answer, of: device.memory) { _ in true })
            || lost.contains { memory in
                isUse(use(answer, of: memory.buffer) { bytes in memory.ranges.contains { $0.overlaps(bytes) } })
            }
    }
}
