import AttributeTree
import CoherentMemory
import LinuxSupport
import SystemPackage

/// sys/class/cdm/cdmN/queue.
enum QueueAttributes {
    static let table: [Attribute<Subject<Device>>] = [
        .writeOnly(
            "submit", summary: "Commands for the device, one a line; they run in order.",
            store: { subject, text throws(Errno) in
                var commands: [DeviceCommand] = []
                for line in text.lines where !line.words.isEmpty {
                    commands.append(try command(line, subject.services))
                }
                guard !commands.isEmpty else { throw text.refused(.invalidArgument, "there is no command") }
                try subject.machine.submit(commands, to: subject.part, by: text.writer)
            }),
        .readOnly(
            "results", isPollable: true, summary: "Results of the last 64 commands, a line each.",
            show: { subject in
                subject.part.queue.results.map { "\($0.sequence) \($0.error?.name ?? "ok") \($0.value)\n" }.joined()
            }
        ).verbatim(),
        .readOnly("depth", summary: "Commands and invalidations that wait or run.") {
            "\($0.part.queue.depth)"
        },
        .readOnly("completed", summary: "Completed commands.") { "\($0.part.queue.completed)" },
        .readOnly("failed", summary: "Commands that failed.") { "\($0.part.queue.failed)" },
        .readWrite(
            "latency", summary: "Minimum time in ns before a command or an invalidation starts.",
            show: { "\($0.part.queue.latency)" },
            store: { subject, text throws(Errno) in try subject.part.queue.setLatency(try text.unsigned()) }),
    ]

    /// A line of `submit`: the name of a command and what it is about.
    private static func command(_ line: AttributeText, _ services: TreeServices) throws(Errno) -> DeviceCommand {
        var words = line.words[...]
        func take() throws(Errno) -> AttributeText {
            guard let word = words.popFirst() else {
                throw line.refused(.invalidArgument, "\(line.quoted) lacks a word")
            }
            return word
        }
        let name = try take().text
        func range() throws(Errno) -> BufferRange {
            let (file, offset, length) = (try take(), try take().unsigned(), try take().unsigned())
            return try BufferRange(try memory(file), at: offset, length: length)
        }
        func memory(_ name: AttributeText) throws(Errno) -> Buffer {
            do throws(Errno) {
                return try services.files.memory(named: name.text)
            } catch {
                throw name.refused(error, "there is no buffer \(name.quoted)")
            }
        }
        let command: DeviceCommand
        switch name {
        case "fill": command = .fill(try range(), UInt8(try take().integer(in: 0...255)))
        case "copy":
            let (source, from) = (try take(), try take().unsigned())
            let (target, to, length) = (try take(), try take().unsigned(), try take().unsigned())
            command = .copy(
                from: try BufferRange(try memory(source), at: from, length: length),
                to: try BufferRange(try memory(target), at: to, length: length))
        case "crc32": command = .crc32(try range())
        case "read": command = .read(try range())
        case "write": command = .write(try range())
        case "exclusive": command = .exclusive(try range())
        case "fence": command = .fence
        default: throw line.refused(.invalidArgument, "there is no command \(ErrorReason.quoted(name))")
        }
        guard words.isEmpty else { throw line.refused(.invalidArgument, "\(line.quoted) has too many words") }
        return command
    }
}

/// sys/class/cdm/cdmN/mmu.
enum DeviceMMUAttributes {
    static let table: [Attribute<Device>] = [
        figure("contexts", \.contexts, "The page tables of the device: one for each buffer that it uses."),
        figure("mapped", \.mapped, "Pages that the device maps."),
        figure("faults", \.faults, "Device faults: no entry, or a write to a read-only one."),
        figure("invalidations", \.invalidations, "Entries that were invalidated."),
        figure("dirty", \.dirty, "Mapped pages that the device has written."),
        figure("accessed", \.accessed, "Mapped pages that the device has accessed."),
        .readWrite(
            "migrate_after_device_faults",
            summary: "Device faults of a page until it moves to the device, 1 to 1000; 0 for never.",
            show: { "\($0.policy.deviceFaults)" },
            store: { device, text throws(Errno) in try device.policy.setDeviceFaults(try text.integer()) }),
        .readWrite(
            "migrate_after_cpu_faults",
            summary:
                "CPU faults of a page that the device maps until it moves away, 1 to 1000; 0 for never.",
            show: { "\($0.policy.cpuFaults)" },
            store: { device, text throws(Errno) in try device.policy.setCPUFaults(try text.integer()) }),
        .readOnly("migrated", summary: "Pages that moved because of these counts, in each direction.") { device in
            let moved = device.policy.moved
            return nameValueLines([("to_device", moved.toDevice), ("to_cpu", moved.toCPU)])
        },
    ]

    fileprivate static func figure(
        _ name: String, _ figure: any KeyPath<DeviceMMU.Figures, Int> & Sendable, _ summary: String
    ) -> Attribute<Device> {
        .readOnly(name, summary: summary) { "\($0.mmu.figures[keyPath: figure])" }
    }
}

/// sys/class/cdm/cdmN/lru.
enum DeviceLRUAttributes {
    static let table: [Attribute<Device>] = [
        DeviceMMUAttributes.figure("active", \.active, "Pages that the device uses. Reclaim skips them."),
        DeviceMMUAttributes.figure(
            "inactive", \.inactive, "Mapped pages that the device no longer uses, or has used once."),
        DeviceMMUAttributes.figure(
            "referenced", \.referenced, "Pages of both lists that the device has used since the last scan."),
    ]
}
