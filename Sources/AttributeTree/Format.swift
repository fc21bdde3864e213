/// `name value` lines, one for each pair, as in `numastat`: the text of an attribute.
public func nameValueLines(_ pairs: some Sequence<(String, some CustomStringConvertible)>) -> String {
    pairs.map { "\($0) \($1)" }.joined(separator: "\n")
}

/// The words of a choice with the current one in brackets, as in `transparent_hugepage/enabled`:
/// `always [madvise] never`.
public func choices(of words: [String], selected: String) -> String {
    words.map { $0 == selected ? "[\($0)]" : $0 }.joined(separator: " ")
}

/// The words of an enumeration with the current one in brackets.
public func choices<Word>(of type: Word.Type = Word.self, selected: Word) -> String
where Word: CaseIterable & RawRepresentable, Word.RawValue == String {
    choices(of: Word.allCases.map(\.rawValue), selected: selected.rawValue)
}
