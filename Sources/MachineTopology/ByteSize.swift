extension UInt64 {
    /// A size in bytes from text such as `4096`, `128K`, `4G`: decimal digits, then at most one of K, M, G and T
    /// (powers of 1024, in either case). `nil` for any other text, and if the size does not fit in 64 bits.
    public init?(byteSize text: some StringProtocol) {
        let shifts: [Character: UInt64] = ["K": 10, "M": 20, "G": 30, "T": 40, "k": 10, "m": 20, "g": 30, "t": 40]
        let shift = text.last.flatMap { shifts[$0] } ?? 0
        let digits = shift == 0 ? text[...] : text.dropLast()
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt64(digits),
            number <= UInt64.max >> shift
        else { return nil }
        self = number << shift
    }
}

extension String {
    /// A size in bytes as ``Swift/UInt64/init(byteSize:)`` reads it, with the largest unit that divides it: `128K`.
    public init(byteSize bytes: UInt64) {
        let units: KeyValuePairs<String, UInt64> = ["T": 40, "G": 30, "M": 20, "K": 10]
        for (unit, shift) in units where bytes != 0 && bytes.isMultiple(of: 1 << shift) {
            self = "\(bytes >> shift)\(unit)"
            return
        }
        self = "\(bytes)"
    }
}
