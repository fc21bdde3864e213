import Glibc

/// What libFuzzer calls with each input; `CDMFS_FUZZ_PARSER` names who takes it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    unsafe parser(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}

private let parser: Parser = {
    guard let name = unsafe getenv("CDMFS_FUZZ_PARSER"), let parser = unsafe Parser(rawValue: String(cString: name))
    else {
        fatalError("CDMFS_FUZZ_PARSER is one of \(Parser.allCases.map(\.rawValue))")
    }
    return parser
}()
