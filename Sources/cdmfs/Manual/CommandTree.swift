import ArgumentParser
import Foundation

/// The commands as the argument parser tells of them (`--experimental-dump-help`), as far as a page needs it.
struct CommandTree: Decodable {
    struct Argument: Decodable {
        struct Name: Decodable {
            let kind: String
            let name: String
        }

        let kind: String
        let shouldDisplay: Bool
        let names: [Name]?
        let valueName: String?
        let abstract: String?
    }

    let commandName: String
    let aliases: [String]?
    let abstract: String?
    let discussion: String?
    let shouldDisplay: Bool
    let subcommands: [CommandTree]?
    let arguments: [Argument]?

    /// The whole tree.
    static func dumped() throws -> CommandTree {
        struct Tool: Decodable { let command: CommandTree }
        return try JSONDecoder().decode(Tool.self, from: Data(Cdmfs._dumpHelp().utf8)).command
    }
}

extension CommandTree {
    /// cdmfs(1)
    var page: String {
        // The parser adds a help of its own to ours.
        var names: Set<String> = []
        let commands = (subcommands ?? []).filter { $0.shouldDisplay && names.insert($0.commandName).inserted }
        let (summary, discussion) = (abstract ?? "", discussion ?? "")
        var page = Mdoc(
            commandName, section: 1, summary: summary.prefix(1).lowercased() + summary.dropFirst().prefix { $0 != "." })
        page.section("SYNOPSIS")
        page.literal(commands.flatMap(\.usage))
        page.section("DESCRIPTION")
        // What the root says last is for a section of its own.
        let status = "Exit status: "
        let parts = discussion.split(separator: "\n\n").map(String.init)
        page.paragraphs(parts.filter { !$0.hasPrefix(status) }.joined(separator: "\n\n"))
        page.section("COMMANDS")
        for command in commands { command.describe(in: &page) }
        page.section("EXIT STATUS")
        page.paragraphs(parts.filter { $0.hasPrefix(status) }.map { String($0.dropFirst(status.count)) }.joined())
        page.references([("cdmfs-topology", 5), ("mount.cdmfs", 8), ("numactl", 8)])
        return page.text
    }

    private func describe(in page: inout Mdoc) {
        page.subsection("\(commandName)")
        page.paragraphs(abstract ?? "")
        page.list(
            (arguments ?? []).filter { $0.shouldDisplay && !$0.isEverywhere }.map { ($0.synopsis, $0.abstract ?? "") })
        if let aliases, !aliases.isEmpty { page.paragraphs("Also: \(aliases.joined(separator: ", ")).") }
        if let discussion { page.paragraphs(discussion) }
    }

    /// The lines of the usage.
    private var usage: [String] {
        guard let command = Cdmfs.command(named: commandName) else { return [] }
        return Cdmfs.usageString(for: command).split(separator: "\n").map { line in
            String(line.trimmingPrefix("Usage: ").drop { $0 == " " })
        }
    }
}

extension CommandTree.Argument {
    /// Whether every command has it.
    fileprivate var isEverywhere: Bool { (names ?? []).contains { ["help", "version"].contains($0.name) } }

    /// `-o, --option <value>`
    fileprivate var synopsis: String {
        let value = "<\(valueName ?? "value")>"
        let names = (names ?? []).map { ($0.kind == "long" ? "--" : "-") + $0.name }
        if names.isEmpty { return value }
        return names.joined(separator: ", ") + (kind == "option" ? " " + value : "")
    }
}
