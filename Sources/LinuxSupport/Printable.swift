extension String {
    /// The text in one line, for logs and terminals: what controls these, or changes the direction of what is seen, is escaped.
    public var printable: String {
        unicodeScalars.map { scalar in
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: scalar.escaped(asASCII: true)
            default: String(scalar)
            }
        }.joined()
    }
}
