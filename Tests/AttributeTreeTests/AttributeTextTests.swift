import AttributeTree
import SystemPackage
import Testing

@Suite struct AttributeTextTests {
    @Test func oneNewlineAtTheEndIsOptional() throws {
        #expect(try AttributeText(Array("online\n".utf8)).text == "online")
        #expect(try AttributeText(Array("online".utf8)).text == "online")
        #expect(try AttributeText(Array("1\n\n".utf8)).text == "1\n")
        #expect(try AttributeText(Array("1\r\n".utf8)).text == "1\r")
        #expect(try AttributeText([]).text == "")
    }

    @Test func aStringMayBeWrittenWithItsEnd() throws {
        #expect(try AttributeText(Array("online\0".utf8)).text == "online")
        #expect(try AttributeText(Array("online\n\0\0".utf8)).text == "online")
        #expect(try AttributeText(Array("1\n\n\0".utf8)).text == "1\n")
    }

    @Test(
        "What is no text is EINVAL",
        arguments: [
            [0], [0, 0x31], [0x31, 0, 0x32], [0x31, 0, 0x0a], [0xff], [0xc3, 0x28],
            [UInt8](repeating: 0x31, count: 4097),
            [UInt8](repeating: 0x31, count: 100 << 10),
        ])
    func refused(bytes: [UInt8]) {
        #expect(throws: Errno.invalidArgument) { try AttributeText(bytes) }
    }

    @Test func aPageIsTaken() throws {
        #expect(try AttributeText([UInt8](repeating: 0x31, count: 4096)).text.count == 4096)
    }

    @Test(
        "Numbers as kstrtoull reads them",
        arguments: [
            ("0", 0), ("42", 42), ("+7", 7), ("0x1f", 31), ("0X1F", 31), ("017", 15),
            ("18446744073709551615", UInt64.max),
            ("0xffffffffffffffff", UInt64.max), ("00", 0),
        ])
    func numbers(text: String, value: UInt64) throws {
        #expect(try AttributeText(text).unsigned() == value)
    }

    @Test(
        "What is no number is EINVAL",
        arguments: [
            "", "-1", " 1", "1 ", "1\n\n", "0x", "08", "1k", "1.5", "1e3", "++1", "+", "٣", "1\r", "0xg", "one", "0b1",
        ])
    func malformedNumbers(text: String) {
        #expect(throws: Errno.invalidArgument) { try AttributeText(text).unsigned() }
    }

    @Test(
        "What does not fit is ERANGE",
        arguments: ["18446744073709551616", "0x10000000000000000", "99999999999999999999999"])
    func largeNumbers(text: String) {
        #expect(throws: Errno.outOfRange) { try AttributeText(text).unsigned() }
    }

    @Test func signedNumbers() throws {
        #expect(try AttributeText("-1").integer() == -1)
        #expect(try AttributeText("-9223372036854775808").integer() == .min)
        #expect(try AttributeText("9223372036854775807").integer() == .max)
        #expect(throws: Errno.outOfRange) { try AttributeText("9223372036854775808").integer() }
        #expect(throws: Errno.outOfRange) { try AttributeText("-9223372036854775809").integer() }
        #expect(throws: Errno.invalidArgument) { try AttributeText("-+1").integer() }
        #expect(try AttributeText("5").integer(in: 0...5) == 5)
        #expect(throws: Errno.outOfRange) { try AttributeText("6").integer(in: 0...5) }
    }

    @Test func hexadecimalNumbers() throws {
        #expect(try AttributeText("ff").hexadecimal() == 255)
        #expect(try AttributeText("0xFF").hexadecimal() == 255)
        #expect(try AttributeText("010").hexadecimal() == 16)
        #expect(throws: Errno.invalidArgument) { try AttributeText("0x").hexadecimal() }
    }

    @Test(
        "Truth values",
        arguments: [
            ("1", true), ("0", false), ("y", true), ("N", false), ("on", true), ("Off", false), ("true", true),
            ("f", false), ("Y!", true), ("tX", true), ("enable", true), ("online_movable", true), ("oNx", true),
            ("1x", true), ("no way", false), ("disabled", false), ("offline", false), ("0x", false), ("OFx", false),
        ])
    func truth(text: String, value: Bool) throws {
        #expect(try AttributeText(text).bool() == value)
    }

    @Test("What is no truth value is EINVAL", arguments: ["", "2", " 1", "o", "ok", "-1", "+1", "x", "é"])
    func noTruth(text: String) {
        #expect(throws: Errno.invalidArgument) { try AttributeText(text).bool() }
    }

    @Test func wordsAndKeywords() throws {
        #expect(AttributeText(" a  bc\td\n").words.map(\.text) == ["a", "bc", "d"])
        #expect(AttributeText("").words.isEmpty)
        #expect(AttributeText("a\n\nb\n").lines.map(\.text) == ["a", "", "b"])
        #expect(try AttributeText("cdm0\n").word == "cdm0")
        #expect(throws: Errno.invalidArgument) { try AttributeText("a b").word }
        #expect(throws: Errno.invalidArgument) { try AttributeText("").word }
        #expect(try AttributeText("online").keyword(of: ["offline", "online"]) == "online")
        #expect(throws: Errno.invalidArgument) { try AttributeText("online ").keyword(of: ["online"]) }
    }
}
