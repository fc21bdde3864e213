/// Text of a stranger for a one-line message: quoted, control characters escaped, and cut after 40 characters.
func clip(_ text: some StringProtocol) -> String {
    var result = "\""
    for (index, scalar) in text.unicodeScalars.enumerated() {
        if index == 40 { return result + "…\"" }
        result += scalar.escaped(asASCII: false)
    }
    return result + "\""
}
