import CLinux
import CoherentMemory
import Fuse
import Glibc
import Logging
import SystemPackage

extension Services {
    /// Tells of memory that was lost with a device's link, and does to the tasks that map it what the device's policy says.
    ///
    /// May wait for whoever has an address space locked: not for those who serve requests.
    func mourn(_ lost: [LostMemory], of device: Device) {
        for memory in lost {
            let buffer = name(of: memory.buffer.id)
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
        for process in processes.processes.sorted() where process != getpid() && maps(process, lost, of: device) {
            let descriptor = pidfd_open(process, 0)
            guard descriptor >= 0 else { continue }
            defer { close(descriptor) }
            // Now that the descriptor stands for it, it is asked again whether it is the one that was meant.
            guard maps(process, lost, of: device) else { continue }
            guard pidfd_send_signal(descriptor, signal, nil, 0) == 0 else {
                logger.warning("signal \(signal) to process \(process): \(Errno(rawValue: errno))")
                continue
            }
            uevents.post {
                Uevent(
                    action: "change", path: "/class/cdm/\(device.name)", subsystem: "cdm",
                    details: [("CDM_EVENT", "signalled"), ("PID", "\(process)"), ("SIGNAL", "\(signal)")])
            }
        }
    }

    /// Whether a process maps memory that is lost: pages of a buffer, or any of the device's file.
    private func maps(_ process: Int32, _ lost: [LostMemory], of device: Device) -> Bool {
        guard let mappings = try? mappings(of: process) else { return false }
        return mappings.contains { mapping in
            mapping.file.buffer === device.memory
                || lost.contains { memory in
                    memory.buffer === mapping.file.buffer
                        && memory.ranges.contains { $0.overlaps(mapping.bytes) }
                }
        }
    }
}
