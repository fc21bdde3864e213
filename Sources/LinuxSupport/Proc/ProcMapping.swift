/// A mapping of a process (`struct vm_area_struct`): a line of /proc/PID/maps (proc_pid_maps(5)).
public struct ProcMapping: Sendable, Hashable {
    /// The addresses of the mapping.
    public var addresses: Range<UInt64>
    /// PROT_READ.
    public var isReadable: Bool
    /// PROT_WRITE.
    public var isWritable: Bool
    /// PROT_EXEC.
    public var isExecutable: Bool
    /// MAP_SHARED.
    public var isShared: Bool
    /// The offset in the file in bytes.
    public var offset: UInt64
    /// The device of the file; 0:0 for anonymous memory.
    public var device: DeviceNumber
    /// The inode of the file; 0 for anonymous memory.
    public var inode: UInt64
    /// The path as the kernel prints it, or a name such as `[heap]`; empty if there is none.
    public var path: String

    /// Parses START-END PERMISSIONS OFFSET DEVICE INODE, blanks, PATH; nil if the line is malformed.
    ///
    /// - Parameters:
    ///   - line: the line.
    ///   - wanted: a device; the result for a mapping of another device is nil, at little cost.
    public init?(_ line: borrowing Span<UInt8>, on wanted: DeviceNumber? = nil) {
        var place = 0
        guard let start = Self.number(line, &place, hexadecimal: true, to: "-"),
            let end = Self.number(line, &place, hexadecimal: true, to: " "), start < end, place + 5 <= line.count,
            line[place + 4] == UInt8(ascii: " ")
        else { return nil }
        let permissions = place
        place += 5
        guard let offset = Self.number(line, &place, hexadecimal: true, to: " "),
            let major = Self.number(line, &place, hexadecimal: true, to: ":"), major <= UInt32.max,
            let minor = Self.number(line, &place, hexadecimal: true, to: " "), minor <= UInt32.max
        else { return nil }
        device = DeviceNumber(major: Int(major), minor: Int(minor))
        guard wanted == nil || wanted == device,
            let inode = Self.number(line, &place, hexadecimal: false, to: " ")
        else { return nil }
        // Behind the end where nothing follows the number.
        place = min(place, line.count)
        while place < line.count, line[place] == UInt8(ascii: " ") { place += 1 }
        addresses = start..<end
        isReadable = line[permissions] == UInt8(ascii: "r")
        isWritable = line[permissions + 1] == UInt8(ascii: "w")
        isExecutable = line[permissions + 2] == UInt8(ascii: "x")
        isShared = line[permissions + 3] == UInt8(ascii: "s")
        self.offset = offset
        self.inode = inode
        path = String(decoding: (min(place, line.count)..<line.count).map { line[$0] }, as: UTF8.self)
    }

    /// Parses a line of text. See ``init(_:on:)``.
    public init?(line: some StringProtocol) {
        let bytes = Array(line.utf8)
        self.init(bytes.span)
    }

    /// Whether it is private memory without a file that is not the kernel's own (vma_is_anonymous()).
    public var isAnonymous: Bool {
        !isShared && inode == 0
            && (path.isEmpty || path == "[heap]" || path == "[stack]" || path.hasPrefix("[anon:"))
    }

    /// A number up to a character, or to the end of the line, and that character; nil where it is none of 64 bits.
    private static func number(
        _ line: borrowing Span<UInt8>, _ place: inout Int, hexadecimal: Bool, to end: Unicode.Scalar
    ) -> UInt64? {
        var value: UInt64 = 0
        let first = place
        while place < line.count, line[place] != UInt8(ascii: end) {
            let digit: UInt64
            switch line[place] {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = UInt64(line[place] - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f") where hexadecimal:
                digit = UInt64(line[place] - UInt8(ascii: "a")) + 10
            default: return nil
            }
            let (product, isTooLarge) = value.multipliedReportingOverflow(by: hexadecimal ? 16 : 10)
            let (sum, overflows) = product.addingReportingOverflow(digit)
            guard !isTooLarge, !overflows else { return nil }
            value = sum
            place += 1
        }
        guard place > first else { return nil }
        place += 1
        return value
    }
}
