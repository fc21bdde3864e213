public import SystemPackage

extension AttributeText {
    /// An unsigned number (`kstrtoull()`). In base 0, `0x` introduces a hexadecimal and `0` an octal number.
    ///
    /// - Parameter base: 0, 8, 10 or 16; 16 accepts the number with or without `0x`.
    /// - Throws: EINVAL if the text is not a number, ERANGE if it does not fit in 64 bits.
    public func unsigned(base: Int = 0) throws(Errno) -> UInt64 {
        try parse(text.utf8.first == UInt8(ascii: "+") ? text.utf8.dropFirst() : text.utf8[...], base: base)
    }

    /// A hexadecimal number, with or without `0x`.
    ///
    /// - Throws: EINVAL if the text is not a number, ERANGE if it does not fit in 64 bits.
    public func hexadecimal() throws(Errno) -> UInt64 { try unsigned(base: 16) }

    /// A signed number (`kstrtoll()`); see ``unsigned(base:)``.
    ///
    /// - Throws: EINVAL if the text is not a number, ERANGE if it does not fit in 64 bits.
    public func integer(base: Int = 0) throws(Errno) -> Int {
        if text.utf8.first == UInt8(ascii: "-") {
            let magnitude = try parse(text.utf8.dropFirst(), base: base)
            guard magnitude <= UInt64(Int.max) + 1 else { throw isTooLarge }
            return Int(truncatingIfNeeded: 0 &- magnitude)
        }
        guard let value = Int(exactly: try unsigned(base: base)) else { throw isTooLarge }
        return value
    }

    /// A number in a range.
    ///
    /// - Throws: EINVAL if the text is not a number, ERANGE if it is outside the range.
    public func integer(in range: ClosedRange<Int>, base: Int = 0) throws(Errno) -> Int {
        let value = try integer(base: base)
        guard range.contains(value) else {
            throw refused(.outOfRange, "\(value) is not in the range \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// A truth value as `kstrtobool()` reads it, which examines only the first characters: a text that begins with `1`,
    /// `y`, `t`, `e` or `on` is true, one that begins with `0`, `n`, `f`, `d` or `of` is false, in either case.
    ///
    /// - Throws: EINVAL for any other text.
    public func bool() throws(Errno) -> Bool {
        let letters = String(decoding: text.utf8.prefix(2), as: UTF8.self).lowercased()
        switch letters.first {
        case "1", "y", "t", "e": return true
        case "0", "n", "f", "d": return false
        default: break
        }
        switch letters {
        case "on": return true
        case "of": return false
        default: throw refused(.invalidArgument, "\(quoted) is not a truth value, such as 0 or 1")
        }
    }

    private func parse(_ digits: Substring.UTF8View, base: Int) throws(Errno) -> UInt64 {
        var digits = digits
        var base = base
        let zero = UInt8(ascii: "0")
        if base == 0 || base == 16 {
            let prefix = Array(digits.prefix(3))
            if prefix.count == 3, prefix[0] == zero, prefix[1] | 0x20 == UInt8(ascii: "x"), Self.digit(prefix[2]) < 16 {
                digits = digits.dropFirst(2)
                base = 16
            } else if base == 0 {
                base = prefix.first == zero ? 8 : 10
            }
        }
        guard !digits.isEmpty, digits.allSatisfy({ Self.digit($0) < base }) else {
            throw refused(.invalidArgument, "\(quoted) is not a number\(base == 16 ? " in hexadecimal" : "")")
        }
        var value: UInt64 = 0
        for byte in digits {
            let (product, overflows) = value.multipliedReportingOverflow(by: UInt64(base))
            let (sum, isAboveMax) = product.addingReportingOverflow(UInt64(Self.digit(byte)))
            guard !overflows, !isAboveMax else { throw isTooLarge }
            value = sum
        }
        return value
    }

    private var isTooLarge: Errno { refused(.outOfRange, "\(quoted) has more than 64 bits") }

    /// The value of a digit, a large one for other characters.
    private static func digit(_ byte: UInt8) -> Int {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(byte) - 0x30
        case UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "A")...UInt8(ascii: "F"): Int(byte | 0x20) - 0x57
        default: .max
        }
    }
}
