import AttributeTree
import CoherentMemory
import SystemPackage

/// sys/kernel/debug/cdm/cdmN: errors on demand (Documentation/ABI/testing/debugfs-cxl).
enum FaultInjectionAttributes {
    static let table: [Attribute<Subject<Device>>] = [
        .writeOnly(
            "inject_poison", summary: "Poisons the page at a device address.",
            start: { subject, text throws(Errno) in
                let (machine, device) = (subject.machine, subject.part)
                let address = try text.unsigned()
                _ = try machine.physicalAddress(address, of: device)
                return Job("poison") { cancellation throws(Errno) in
                    try machine.injectPoison(address, of: device) { cancellation.isCancelled }
                }
            }),
        .writeOnly(
            "clear_poison", summary: "Clears the poison of the page at a device address; the page is zeroed.",
            start: { subject, text throws(Errno) in
                let machine = subject.machine
                let address = try machine.physicalAddress(try text.unsigned(), of: subject.part)
                return Job("clear-poison") { _ throws(Errno) in try machine.clearFailure(address: address) }
            }),
        Attribute.readOnly(
            "poison_list", permissions: .ownerRead,
            summary: "Poisoned and retired memory of the device, a line a run: device address, bytes, why.",
            records: { subject, address, _ in
                let (machine, device) = (subject.machine, subject.part)
                return machine.failedRanges(of: device.node, from: address, limit: 256).map { range in
                    TextRecord(
                        "\(hex(machine.deviceAddress(range.physicalAddress, of: device))) \(hex(range.length)) "
                            + "\(range.reason.rawValue)\n",
                        next: range.physicalAddress + range.length)
                }
            }),
        .writeOnly(
            "inject_correctable",
            summary: "COUNT, or COUNT and a device address: injects that many corrected errors, there or anywhere.",
            start: { subject, text throws(Errno) in
                let (machine, device) = (subject.machine, subject.part)
                let words = text.words
                guard (1...2).contains(words.count) else {
                    throw text.refused(.invalidArgument, "expected COUNT, or COUNT and an address")
                }
                let count = UInt64(try words[0].integer(in: 1...1_000_000))
                let address = words.count == 2 ? try words[1].unsigned() : nil
                if let address { _ = try machine.physicalAddress(address, of: device) }
                return Job("correctable") { cancellation throws(Errno) in
                    try machine.injectCorrectable(count, at: address, of: device) { cancellation.isCancelled }
                }
            }),
        .writeOnly(
            "inject_link_error", summary: "COUNT: injects that many link errors; the link is retrained after each.",
            store: { subject, text throws(Errno) in
                try subject.machine.injectLinkErrors(try text.unsigned(), of: subject.part)
            }),
    ]
}

/// sys/kernel/debug/cdm/cdmN/error_model: errors at random.
enum ErrorModelAttributes {
    static let table: [Attribute<Subject<Device>>] = [
        .readWrite(
            "seed", permissions: ownersOnly, summary: "The seed of the places and times of the errors.",
            show: { "\($0.part.errors.seed)" },
            store: { subject, text throws(Errno) in subject.part.errors.seed = try text.unsigned() }),
        rate("correctable_rate", \.correctable, "Corrected errors per GiB and second, 0 to 1000000."),
        rate("uncorrectable_rate", \.uncorrectable, "Errors that poison a page, per GiB and second, 0 to 1000000."),
        .readWrite(
            "correctable_threshold", permissions: ownersOnly,
            summary: "Corrected errors of a page until it is taken out of use; 0 for never.",
            show: { "\($0.part.errors.rates.threshold)" },
            store: { subject, text throws(Errno) in
                let threshold = try text.unsigned()
                try subject.part.errors.update { $0.threshold = threshold }
            }),
    ]

    private static let ownersOnly: FilePermissions = [.ownerRead, .ownerWrite]

    private static func rate(
        _ name: String, _ rate: any WritableKeyPath<ErrorRates, Double> & Sendable, _ summary: String
    ) -> Attribute<Subject<Device>> {
        .readWrite(
            name, permissions: ownersOnly, summary: summary,
            show: { subject in
                let value = subject.part.errors.rates[keyPath: rate]
                return value == value.rounded() ? "\(Int(value))" : "\(value)"
            },
            store: { subject, text throws(Errno) in
                let value = try text.decimal()
                try subject.part.errors.update { $0[keyPath: rate] = value }
                subject.services.runErrorModel(of: subject.part)
            })
    }
}

/// sys/class/cdm/cdmN/ras.
enum ErrorCountAttributes {
    static let table: [Attribute<Device>] = [
        .readOnly("correctable", summary: "Errors that the device corrected.") { "\($0.errors.counts.correctable)" },
        .readOnly("uncorrectable", summary: "Errors that the device could not correct.") {
            "\($0.errors.counts.uncorrectable)"
        },
        .readOnly("poisoned", summary: "Poisoned pages of the device.") { "\($0.node.failureUsage.poisoned)" },
        .readOnly("retired", summary: "Pages of the device that are out of use, poisoned or not.") {
            "\($0.node.failureUsage.retired)"
        },
        .readOnly("link_errors", summary: "Errors of the link.") { "\($0.errors.counts.link)" },
    ]
}

/// sys/kernel/debug/hwpoison (mm/hwpoison-inject.c), and the list of what is out of use.
enum HardwarePoisonAttributes {
    static let debugging: [Attribute<Subject<Machine>>] = [
        .writeOnly(
            "corrupt-pfn", summary: "Poisons the page of a page frame number.",
            start: { subject, text throws(Errno) in
                let machine = subject.machine
                let address = try address(text)
                return Job("poison") { cancellation throws(Errno) in
                    try machine.poison(address: address, reason: .injected) { cancellation.isCancelled }
                }
            }),
        .writeOnly(
            "unpoison-pfn", summary: "Clears the poison of the page of a page frame number; the page is zeroed.",
            start: { subject, text throws(Errno) in
                let machine = subject.machine
                let address = try address(text)
                return Job("clear-poison") { _ throws(Errno) in try machine.clearFailure(address: address) }
            }),
    ]

    static let table: [Attribute<Machine>] = [
        .readOnly(
            "retired", summary: "Memory that is out of use, a line a run: physical address, bytes, node, why.",
            records: { machine, key, _ in retired(machine, key) })
    ]

    /// Node by node: the key is the node's place, and the frame within what no physical address reaches.
    @Sendable private static func retired(_ machine: Machine, _ key: UInt64) -> [TextRecord] {
        let shift: UInt64 = 52
        var pfn = key & (1 << shift - 1)
        for place in Int(key >> shift)..<max(machine.nodes.count, Int(key >> shift)) {
            let node = machine.nodes[place]
            let ranges = machine.failedRanges(of: node, from: pfn << Page.shift, limit: 256)
            guard ranges.isEmpty else {
                return ranges.map { range in
                    TextRecord(
                        "\(hex(range.physicalAddress)) \(hex(range.length)) \(node.id) \(range.reason.rawValue)\n",
                        next: UInt64(place) << shift | (range.physicalAddress + range.length) >> Page.shift)
                }
            }
            pfn = 0
        }
        return []
    }

    private static func address(_ text: AttributeText) throws(Errno) -> UInt64 {
        let (address, overflow) = try text.unsigned().multipliedReportingOverflow(by: Page.size)
        guard !overflow else { throw text.refused(.noSuchAddressOrDevice, "no physical address has 64 bits") }
        return address
    }
}

/// What a buffer's control directory has that is root's alone, and no extended attribute.
package enum BufferFailureAttributes {
    package static let table: [Attribute<Subject<Buffer>>] = [
        .writeOnly(
            "poison",
            summary: "OFFSET, or OFFSET and LENGTH: poisons these pages; pages without frames get them first.",
            start: { subject, text throws(Errno) in
                let (machine, buffer) = (subject.machine, subject.part)
                let words = text.words
                guard (1...2).contains(words.count) else {
                    throw text.refused(.invalidArgument, "expected OFFSET, or OFFSET and LENGTH")
                }
                let start = try words[0].unsigned()
                let length = words.count == 2 ? try words[1].unsigned() : Page.size
                let (end, overflow) = start.addingReportingOverflow(length)
                guard !overflow, length > 0, start % Page.size == 0, length % Page.size == 0,
                    start < buffer.size, end <= (buffer.size + Page.size - 1) / Page.size * Page.size
                else {
                    throw text.refused(
                        .invalidArgument,
                        "the range does not consist of pages of the buffer, which has \(buffer.size) bytes")
                }
                let origin = subject.services.tasks.origin(ofTask: text.writer)
                return Job("poison") { cancellation throws(Errno) in
                    do throws(Errno) {
                        try machine.poison(buffer, bytes: start..<end, origin: origin) { cancellation.isCancelled }
                    } catch .noMemory {
                        throw text.refused(.noSpace, "no frame is available for a page of the range")
                    }
                }
            }
        ).administrative()
    ]
}

extension AttributeText {
    /// A decimal number that is not negative: `0.25`. EINVAL for anything else.
    fileprivate func decimal() throws(Errno) -> Double {
        let digits = text.utf8
        guard digits.count <= 32, digits.allSatisfy({ (0x30...0x39).contains($0) || $0 == UInt8(ascii: ".") }),
            digits.first != UInt8(ascii: "."), digits.last != UInt8(ascii: "."), let value = Double(text)
        else { throw refused(.invalidArgument, "\(quoted) is not a decimal number") }
        return value
    }
}

func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
