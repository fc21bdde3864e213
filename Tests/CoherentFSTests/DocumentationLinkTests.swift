import Foundation
import SystemPackage
import Testing

/// The links of the documentation, as DocC resolves them: to the public symbols of a module, which its symbol graph lists.
@Suite("Documentation links")
struct DocumentationLinkTests {
    private static let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    private static let products = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent()
    private static let extractor = "swift-symbolgraph-extract"

    private static let path = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)

    private static var extractorPath: String? {
        path.map { $0 + "/" + extractor }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// Every module of the package that a package description builds from Swift, but for tests.
    private static let modules: [String] = {
        let sources = package.appendingPathComponent("Sources")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: sources.path)) ?? []
        return names.filter { name in
            FileManager.default.fileExists(
                atPath: products.appendingPathComponent("Modules/\(name).swiftmodule").path)
        }.sorted()
    }()

    @Test(
        "Every link between double backticks names a public symbol of its module",
        .enabled(if: extractorPath != nil, "\(extractor) is not in PATH"), arguments: modules)
    func symbols(module: String) throws {
        let graph = try SymbolGraph(of: module, products: Self.products, extractor: Self.extractorPath!)
        var dead: [String] = []
        for symbol in graph.symbols {
            for link in SymbolGraph.links(in: symbol.text) where !graph.resolves(link, from: symbol.path) {
                dead.append("\(symbol.path.joined(separator: "/")): ``\(link)``")
            }
        }
        for article in try Self.pages(below: "Sources/\(module)") {
            let text = try String(contentsOf: article, encoding: .utf8)
            for link in SymbolGraph.links(in: text) where !graph.resolves(link, from: []) {
                dead.append("\(article.lastPathComponent): ``\(link)``")
            }
        }
        #expect(dead.isEmpty, "\(module), dead links:\n\(dead.joined(separator: "\n"))")
    }

    @Test("Every link to an article or a file leads to one, and every heading that is named is there")
    func files() throws {
        let pages = try Self.pages(below: "")
        let articles = Set(pages.map { $0.deletingPathExtension().lastPathComponent })
        var dead: [String] = []
        for page in pages {
            let text = try String(contentsOf: page, encoding: .utf8)
            for match in text.matches(of: /<doc:([^>#]+)(#[^>]*)?>/) where !articles.contains(String(match.1)) {
                dead.append("\(page.lastPathComponent): \(match.0)")
            }
            for match in text.matches(of: /\]\(([^)\s]+)\)/) where !Self.leads(String(match.1), from: page) {
                dead.append("\(page.lastPathComponent): \(match.1)")
            }
        }
        #expect(pages.count > 5 && dead.isEmpty, "dead links:\n\(dead.joined(separator: "\n"))")
    }

    @Test("No page shows one picture twice")
    func pictures() throws {
        for page in try Self.pages(below: "") {
            let text = try String(contentsOf: page, encoding: .utf8)
            let pictures = text.matches(of: /!\[[^\]]*\]\(([^)\s]+)\)/).map { String($0.1) }
            let twice = Dictionary(grouping: pictures) { $0 }.filter { $0.value.count > 1 }.keys.sorted()
            #expect(twice.isEmpty, "\(page.path): \(twice)")
        }
    }

    /// Whether a link of a page leads to a file, and to a heading of it where it names one. What is elsewhere is not looked at.
    private static func leads(_ link: String, from page: URL) -> Bool {
        if link.contains("://") || link.hasPrefix("mailto:") { return true }
        let parts = link.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        let target =
            parts[0].isEmpty ? page : URL(fileURLWithPath: parts[0], relativeTo: page.deletingLastPathComponent())
        guard FileManager.default.fileExists(atPath: target.path) else {
            // DocC finds the files of a catalog by their names.
            let resource = page.deletingLastPathComponent().appendingPathComponent("Resources/\(link)")
            return page.path.contains(".docc/") && FileManager.default.fileExists(atPath: resource.path)
        }
        guard parts.count == 2 else { return true }
        let text = (try? String(contentsOf: target, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").contains { line in
            guard line.hasPrefix("#") else { return false }
            let heading = line.drop { $0 == "#" }.trimmingCharacters(in: .whitespaces).lowercased()
            let anchor = heading.filter { $0.isLetter || $0.isNumber || $0 == " " || $0 == "-" || $0 == "_" }
                .replacingOccurrences(of: " ", with: "-")
            return anchor == parts[1].lowercased()
        }
    }

    private static func pages(below folder: String) throws -> [URL] {
        let top = folder.isEmpty ? package : package.appendingPathComponent(folder)
        let keys: [URLResourceKey] = [.isDirectoryKey]
        guard
            let walk = FileManager.default.enumerator(
                at: top, includingPropertiesForKeys: keys, options: [.skipsHiddenFiles])
        else { return [] }
        return walk.compactMap { $0 as? URL }.filter { $0.pathExtension == "md" }.sorted { $0.path < $1.path }
    }
}

/// The public symbols of a module, as swift-symbolgraph-extract(1) writes them.
struct SymbolGraph {
    struct Symbol {
        let path: [String]
        let text: String
    }

    let symbols: [Symbol]
    private let paths: Set<[String]>
    /// The modules whose types this one extends.
    private let extended: Set<String>
    private let module: String

    private struct File: Decodable {
        struct Symbol: Decodable {
            struct Comment: Decodable {
                struct Line: Decodable { let text: String }
                let lines: [Line]
            }
            let pathComponents: [String]
            let docComment: Comment?
        }
        let symbols: [Symbol]
    }

    init(of module: String, products: URL, extractor: String) throws {
        self.module = module
        let files = FileManager.default
        let output = files.temporaryDirectory.appendingPathComponent("symbols-\(module)-\(UUID().uuidString)")
        try files.createDirectory(at: output, withIntermediateDirectories: true)
        defer { try? files.removeItem(at: output) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: extractor)
        #if arch(arm64)
            let target = "aarch64-unknown-linux-gnu"
        #else
            let target = "x86_64-unknown-linux-gnu"
        #endif
        process.arguments =
            [
                "-module-name", module, "-I", products.appendingPathComponent("Modules").path, "-target", target,
                "-minimum-access-level", "public", "-output-dir", output.path,
            ] + (try Self.moduleMaps(products)).flatMap { ["-Xcc", "-fmodule-map-file=" + $0.path] }
        let errors = Pipe()
        process.standardError = errors
        try process.run()
        let said = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "\(String(decoding: said, as: UTF8.self))")
        let graphs = try files.contentsOfDirectory(at: output, includingPropertiesForKeys: nil)
        symbols = try graphs.flatMap { graph in
            try JSONDecoder().decode(File.self, from: Data(contentsOf: graph)).symbols.map { symbol in
                Symbol(
                    path: symbol.pathComponents,
                    text: symbol.docComment?.lines.map(\.text).joined(separator: "\n") ?? "")
            }
        }
        paths = Set(symbols.map(\.path))
        // MODULE@EXTENDED.symbols.json
        extended = Set(
            graphs.compactMap { graph in
                let name = graph.lastPathComponent.prefix { $0 != "." }.split(separator: "@")
                return name.count == 2 ? String(name[1]) : nil
            })
    }

    /// The maps of the C modules that Swift modules import: those that the build made, and those in the sources.
    private static func moduleMaps(_ products: URL) throws -> [URL] {
        let files = FileManager.default
        let made = try files.contentsOfDirectory(at: products, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "build" }.map { $0.appendingPathComponent("module.modulemap") }
        // .build/TRIPLE/debug
        let scratch = products.deletingLastPathComponent().deletingLastPathComponent()
        let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Sources")
        let own = try files.contentsOfDirectory(at: sources, includingPropertiesForKeys: nil).map {
            $0.appendingPathComponent("module.modulemap")
        }
        let system = scratch.appendingPathComponent("checkouts/swift-system/Sources/CSystem/include/module.modulemap")
        return (made + own + [system]).filter { files.fileExists(atPath: $0.path) }
    }

    /// What stands between double backticks.
    static func links(in text: String) -> [String] {
        text.matches(of: /(?:^|[^`])``([^`\s]+)``(?!`)/).map { String($0.1) }
    }

    /// Whether a link names a symbol: of the scope of the one that it stands at, of one around that, or of the module.
    func resolves(_ link: String, from scope: [String]) -> Bool {
        // A suffix tells overloads apart.
        var components = link.split(separator: "/").map { component in
            String(component.replacing(/-(\(.*\).*|[0-9a-z]{4,5}|swift\.[a-z.]+)$/, with: ""))
        }
        if let first = components.first, first == module || extended.contains(first) { components.removeFirst() }
        if components.isEmpty { return true }
        return (0...scope.count).contains { paths.contains(Array(scope.prefix($0)) + components) }
    }
}
