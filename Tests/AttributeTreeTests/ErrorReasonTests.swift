import AttributeTree
import SystemPackage
import Testing

/// What a store says of its refusal beside the errno.
@Suite("Error reasons") struct ErrorReasonTests {
    private enum Choice: String, CaseIterable { case one, two }

    /// The reason that `body` leaves of a refusal of `text`.
    private func clause(_ text: String, _ body: (AttributeText) throws(Errno) -> Void) -> String? {
        let text = AttributeText(text)
        do throws(Errno) {
            try body(text)
            return nil
        } catch {
            return text.reason.clause(of: error)
        }
    }

    @Test("Parsers name what they do not accept, and what they would")
    func parsers() {
        #expect(clause("x") { text throws(Errno) in _ = try text.integer() } == "\"x\" is not a number")
        #expect(
            clause("9") { text throws(Errno) in _ = try text.integer(in: 1...5) } == "9 is not in the range 1 to 5")
        #expect(
            clause("99999999999999999999") { text throws(Errno) in _ = try text.unsigned() }
                == "\"99999999999999999999\" has more than 64 bits")
        #expect(
            clause("x") { text throws(Errno) in _ = try text.keyword(as: Choice.self) }
                == "\"x\" is not one of one, two")
        #expect(clause("2") { text throws(Errno) in _ = try text.keyword(of: ["1"]) } == "\"2\" is not 1")
        #expect(clause("a b") { text throws(Errno) in _ = try text.word } == "\"a b\" is not one word")
        #expect(
            clause("x") { text throws(Errno) in _ = try text.bool() } == "\"x\" is not a truth value, such as 0 or 1")
    }

    @Test("What is wrong of a part is noted for the whole")
    func parts() {
        #expect(clause("1 x") { text throws(Errno) in _ = try text.words[1].integer() } == "\"x\" is not a number")
        #expect(clause("1\nx") { text throws(Errno) in _ = try text.lines[1].integer() } == "\"x\" is not a number")
        #expect(clause("-x") { text throws(Errno) in _ = try text.part("x").integer() } == "\"x\" is not a number")
    }

    @Test("A reason is that of one errno")
    func pairing() {
        let reason = ErrorReason()
        #expect(reason.clause(of: .invalidArgument) == nil)
        #expect(reason.note(.invalidArgument, "first") == .invalidArgument)
        #expect(reason.note(.invalidArgument, "second") == .invalidArgument)
        #expect(reason.clause(of: .invalidArgument) == "second")
        #expect(reason.clause(of: .outOfRange) == nil)
    }

    @Test("Bytes that are no text have reasons, too")
    func bytes() {
        for (bytes, clause) in [
            ([UInt8](repeating: 0x31, count: 4097), "one write has at most 4096 bytes"),
            ([0x31, 0, 0x32], "a NUL byte precedes the end of the text"), ([0xff], "the text is not UTF-8"),
        ] {
            let reason = ErrorReason()
            #expect(throws: Errno.invalidArgument) { try AttributeText(bytes, reason: reason) }
            #expect(reason.clause(of: .invalidArgument) == clause)
        }
    }

    @Test("A quoted text is short, and has no control characters")
    func quoting() {
        #expect(ErrorReason.quoted("a\tb\"c") == #""a\tb\"c""#)
        #expect(ErrorReason.quoted("é") == "\"é\"")
        #expect(
            ErrorReason.quoted(String(repeating: "x", count: 65)) == "\"" + String(repeating: "x", count: 64) + "…\"")
        #expect(
            ErrorReason.quoted(String(repeating: "x", count: 64)) == "\"" + String(repeating: "x", count: 64) + "\"")
    }
}
