import Foundation
public import FoundationXML

/// What a parser of XML finds in a text.
public final class Wellformed: NSObject, XMLParserDelegate {
    /// The names of elements, in order.
    public private(set) var elements: [String] = []
    /// The names of attributes, in order.
    public private(set) var attributes: [String] = []
    /// The text between tags.
    public private(set) var text = ""
    /// The values of attributes `id`.
    public private(set) var ids: [String] = []
    /// Why it is not well-formed; nil if it is.
    public private(set) var error: String?

    /// Parses SVG, or HTML that closes every element. Scripts and styles, which are no XML, are left out.
    public init(_ document: String) {
        super.init()
        let text = document.replacing(/(?s)<(script|style)>.*?<\/\1>/, with: "")
            .replacing("<!DOCTYPE html>", with: "")
        let parser = XMLParser(data: Data(text.utf8))
        parser.delegate = self
        if !parser.parse() { error = "line \(parser.lineNumber): \(parser.parserError.map { "\($0)" } ?? "-")" }
    }

    /// Called by the parser.
    public func parser(
        _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
        attributes list: [String: String]
    ) {
        elements.append(name)
        attributes += list.keys
        if let id = list["id"] { ids.append(id) }
    }

    /// Called by the parser.
    public func parser(_ parser: XMLParser, foundCharacters string: String) { text += string }
}
