/// A filter of system calls, as a program installs it (seccomp(2), linux/filter.h).
struct SeccompFilter {
    /// The most instructions of one (BPF_MAXINSNS).
    static let maximumLength = 4096

    private let instructions: [Instruction]

    private struct Instruction {
        let code: UInt16
        let ifTrue, ifFalse: Int
        let constant: UInt32

        init(_ word: UInt64) {
            code = UInt16(truncatingIfNeeded: word)
            ifTrue = Int(word >> 16 & 0xff)
            ifFalse = Int(word >> 24 & 0xff)
            constant = UInt32(truncatingIfNeeded: word >> 32)
        }
    }

    /// - Parameter words: the instructions as they are in memory (struct sock_filter).
    init(words: [UInt64]) { instructions = words.map(Instruction.init) }

    /// Whether a call is done as if there were no filter. False for what the filter does not decide in order.
    func allows(_ call: FilteredCall) -> Bool {
        guard let action = action(for: call) else { return false }
        // SECCOMP_RET_ALLOW, SECCOMP_RET_LOG
        return [0x7fff_0000, 0x7ffc_0000].contains(action & 0xffff_0000)
    }

    /// What the filter returns (___bpf_prog_run(), for the instructions that seccomp_check_filter() lets pass); nil for an error in it.
    func action(for call: FilteredCall) -> UInt32? {
        var (accumulator, index) = (UInt32(0), UInt32(0))
        var scratch = [UInt32](repeating: 0, count: 16)
        var position = 0
        // Jumps go forward only.
        while position < instructions.count {
            let instruction = instructions[position]
            position += 1
            let constant = instruction.constant
            let operand = instruction.code & 0x08 == 0 ? constant : index
            switch instruction.code {
            case 0x20:  // BPF_LD | BPF_W | BPF_ABS
                guard let word = call.word(at: constant) else { return nil }
                accumulator = word
            case 0x00: accumulator = constant  // BPF_LD | BPF_IMM
            case 0x01: index = constant  // BPF_LDX | BPF_IMM
            case 0x80: accumulator = FilteredCall.size  // BPF_LD | BPF_W | BPF_LEN
            case 0x81: index = FilteredCall.size  // BPF_LDX | BPF_W | BPF_LEN
            case 0x60, 0x61, 0x02, 0x03:  // BPF_LD, BPF_LDX, BPF_ST, BPF_STX of BPF_MEM
                guard constant < 16 else { return nil }
                switch instruction.code {
                case 0x60: accumulator = scratch[Int(constant)]
                case 0x61: index = scratch[Int(constant)]
                case 0x02: scratch[Int(constant)] = accumulator
                default: scratch[Int(constant)] = index
                }
            case 0x07: index = accumulator  // BPF_MISC | BPF_TAX
            case 0x87: accumulator = index  // BPF_MISC | BPF_TXA
            case 0x06: return constant  // BPF_RET | BPF_K
            case 0x16: return accumulator  // BPF_RET | BPF_A
            case 0x05: position += Int(constant)  // BPF_JMP | BPF_JA
            case 0x15, 0x1d: position += accumulator == operand ? instruction.ifTrue : instruction.ifFalse
            case 0x25, 0x2d: position += accumulator > operand ? instruction.ifTrue : instruction.ifFalse
            case 0x35, 0x3d: position += accumulator >= operand ? instruction.ifTrue : instruction.ifFalse
            case 0x45, 0x4d: position += accumulator & operand != 0 ? instruction.ifTrue : instruction.ifFalse
            case 0x04, 0x0c: accumulator &+= operand
            case 0x14, 0x1c: accumulator &-= operand
            case 0x24, 0x2c: accumulator &*= operand
            case 0x34, 0x3c:
                guard operand != 0 else { return 0 }
                accumulator /= operand
            case 0x44, 0x4c: accumulator |= operand
            case 0x54, 0x5c: accumulator &= operand
            case 0x64, 0x6c: accumulator &<<= operand
            case 0x74, 0x7c: accumulator &>>= operand
            case 0x84: accumulator = 0 &- accumulator
            case 0xa4, 0xac: accumulator ^= operand
            default: return nil
            }
        }
        return nil
    }
}

/// A system call as a filter sees it (struct seccomp_data).
struct FilteredCall {
    var number: Int
    var arguments: [UInt64] = []
    var instruction: UInt64 = 0

    /// Its size in bytes.
    static let size: UInt32 = 64
    /// AUDIT_ARCH_X86_64: agents are of no other architecture.
    private static let architecture: UInt32 = 0xc000_003e

    /// The four bytes at an offset; nil outside.
    func word(at offset: UInt32) -> UInt32? {
        guard offset < Self.size, offset % 4 == 0 else { return nil }
        let half = offset % 8 == 0 ? UInt64(0) : 32
        switch offset {
        case 0: return UInt32(truncatingIfNeeded: number)
        case 4: return Self.architecture
        case 8, 12: return UInt32(truncatingIfNeeded: instruction >> half)
        default:
            let argument = Int(offset - 16) / 8
            return UInt32(truncatingIfNeeded: (argument < arguments.count ? arguments[argument] : 0) >> half)
        }
    }
}
