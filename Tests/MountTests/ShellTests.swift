import CoherentMemory
import Foundation
import MachineTopology
import SystemPackage
import Testing

/// What the command is to a shell and to man(1). Nothing is mounted for it.
@Suite("Shell and manual")
struct ShellTests {
    /// What bash, at the end of a line, is given to choose from.
    private func bash(_ line: String) throws -> [String] {
        // As readline sets the variables, by the words that bash makes of the line.
        let script = """
            source <("$0" --generate-completion-script bash)
            PATH="${0%/*}:$PATH"
            COMP_LINE=$1 COMP_POINT=${#1}
            read -ra COMP_WORDS < <(printf '%s' "$1" | sed 's/[=:]/ & /g')
            [[ $1 != *[[:space:]] ]] || COMP_WORDS+=('')
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            cur=${COMP_WORDS[COMP_CWORD]}; [[ $cur != [=:] ]] || cur=
            _cdmfs_whole_words cdmfs "$cur" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\\n' "${COMPREPLY[@]}"
            """
        let outcome = try run(["bash", "-c", script, Host.cdmfs, line])
        #expect(outcome.succeeded && outcome.errors.isEmpty, "\(line): \(outcome.errors)")
        return outcome.output.split(separator: "\n").map(String.init)
    }

    @Test("bash completes commands, paths, presets, -o words and topics of help")
    func bashCompletes() throws {
        #expect(try Set(bash("cdmfs ")).isSuperset(of: ["mount", "unmount", "topology", "run", "help"]))
        #expect(try bash("cdmfs topology --preset two") == ["two-socket"])
        #expect(try bash("cdmfs mount -o map") == ["mapping="])
        #expect(try Set(bash("cdmfs mount -o huge=")) == ["never", "within_size", "always", "pool"])
        #expect(try bash("cdmfs mount -o huge=al") == ["always"])
        #expect(try bash("cdmfs mount -o ro,huge=always,mapping=d") == ["direct"])
        #expect(try bash("cdmfs mount -o ro,noat") == ["ro,noatime"])
        #expect(try bash("cdmfs mount --topol") == ["--topology"])
        #expect(try Set(bash("cdmfs help mig")).isSuperset(of: ["migrate", "migrate_pages", "migrations"]))
        #expect(try bash("cdmfs help buffers/a/mi") == ["buffers/a/migrate"])
        #expect(
            try bash("cdmfs help sys/devices/system/node/node1/cdm/iso") == [
                "sys/devices/system/node/node1/cdm/isolation"
            ])
        #expect(try bash("cdmfs help numa_m").contains("numa_maps"))
        #expect(try bash("cdmfs help --man mount") == ["mount.cdmfs"])

        let folder = try makeTemporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for name in ["lab.toml", "notes.txt"] {
            try "".write(toFile: folder + "/" + name, atomically: false, encoding: .utf8)
        }
        try FileManager.default.createDirectory(atPath: folder + "/deep", withIntermediateDirectories: false)
        #expect(try Set(bash("cdmfs topology --check \(folder)/")) == ["\(folder)/lab.toml", "\(folder)/deep"])
        #expect(try bash("cdmfs mount --topology \(folder)/la") == ["\(folder)/lab.toml"])
        #expect(try Set(bash("cdmfs mount -o topology=\(folder)/")) == ["\(folder)/lab.toml", "\(folder)/deep/"])
        #expect(try bash("cdmfs mount \(folder)/d") == ["\(folder)/deep"])
    }

    @Test("fish completes", .enabled(if: Host.has("fish"), "fish is not installed"))
    func fishCompletes() throws {
        func fish(_ line: String) throws -> [String] {
            let script = """
                set -x PATH (dirname $argv[1]) $PATH
                $argv[1] --generate-completion-script fish | source
                complete -C $argv[2]
                """
            let outcome = try run(["fish", "--no-config", "-c", script, Host.cdmfs, line])
            #expect(outcome.succeeded, "\(outcome.errors)")
            return outcome.output.split(separator: "\n").map { String($0.prefix { $0 != "\t" }) }
        }
        #expect(try fish("cdmfs topology --preset two") == ["two-socket"])
        #expect(try fish("cdmfs mount -o ro,huge=al") == ["ro,huge=always"])
        #expect(try fish("cdmfs help buffers/a/mi") == ["buffers/a/migrate"])
    }

    @Test("zsh takes its script", .enabled(if: Host.has("zsh"), "zsh is not installed"))
    func zshParses() throws {
        let script = #""$1" --generate-completion-script zsh > "$2/_cdmfs" && zsh -n "$2/_cdmfs""#
        let folder = try makeTemporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let outcome = try run(["sh", "-c", script, "sh", Host.cdmfs, folder])
        #expect(outcome.succeeded && outcome.errors.isEmpty, "\(outcome.errors)")
    }

    private static let pages = ["cdmfs", "cdmfs-topology", "mount.cdmfs"]

    @Test("The pages of the manual are mdoc without a warning", arguments: pages)
    func lint(page: String) throws {
        try #require(Host.has("mandoc"), "mount-scripts/test installs mandoc")
        let script = #""$0" help --man "$1" | mandoc -Tlint -Wwarning"#
        let outcome = try run(["bash", "-o", "pipefail", "-c", script, Host.cdmfs, page])
        #expect(outcome.succeeded && outcome.output.isEmpty && outcome.errors.isEmpty, "\(outcome)")
    }

    @Test(
        "The documentation and the help are spelled as a dictionary has it, or Tests/words.txt", .timeLimit(.minutes(1))
    )
    func spelling() throws {
        try #require(Host.has("aspell"), "mount-scripts/test installs aspell")
        let folder = try makeTemporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var help = ""
        for arguments in try [["topology", "--keys"], ["--help"]] + commandNames().map({ [$0, "--help"] }) {
            let outcome = try run([Host.cdmfs] + arguments)
            // What is indented deeply would be code.
            help += outcome.output.split(separator: "\n").map { $0.drop { $0 == " " } }.joined(separator: "\n") + "\n"
        }
        try help.write(toFile: "\(folder)/help", atomically: false, encoding: .utf8)
        let script = """
            cd "$0"
            exec python3 Tests/Clients/spelling.py Tests/words.txt "$1" *.md Tests/Benchmarks/README.md $(find Sources -name '*.md')
            """
        let outcome = try run(["bash", "-c", script, Host.package.string, "\(folder)/help"])
        #expect(outcome.succeeded, "\(outcome.output)\(outcome.errors)")
    }

    @Test("They say what the help says, and what the reader of topologies knows")
    func pagesAreComplete() throws {
        func text(_ page: String) throws -> String {
            let outcome = try run(
                ["bash", "-c", #""$0" help --man "$1" | mandoc -Tutf8 -O width=200 | col -b"#, Host.cdmfs, page])
            #expect(outcome.succeeded, "\(outcome.errors)")
            return outcome.output.replacing("‐", with: "-").replacing("−", with: "-")
        }
        let topology = try text("cdmfs-topology")
        for key in TopologyKey.all { #expect(topology.contains("\(key.name) = \(key.form)"), "\(key.name)") }
        for preset in Topology.presets { #expect(topology.contains(preset.name)) }
        let help = try run([Host.cdmfs, "mount", "--help"]).output
        let mount = try text("mount.cdmfs")
        for word in help.matches(of: /(?m)^  ([a-z_]+)(=[A-Z]+)? +\S/).map({ $0.1 }) {
            #expect(mount.contains(word), "\(word)")
        }
        #expect(mount.contains("huge=WORD") && help.contains("huge=WORD"))
        let command = try text("cdmfs")
        for word in ["unmount", "--topology", "numa_maps", "--generate-completion-script", "help FILE", "EXIT STATUS"] {
            #expect(command.contains(word), "\(word)")
        }
        let wrong = try run([Host.cdmfs, "help", "--man", "nonsense"])
        #expect(wrong.ending == .exited(64) && wrong.errors.split(separator: "\n").count == 1)
    }

    @Test("help of a path below buffers/ is of the control file")
    func helpOfControls() throws {
        func first(_ path: String) throws -> String {
            let outcome = try run([Host.cdmfs, "help", path])
            #expect(outcome.succeeded, "\(outcome.errors)")
            return outcome.output.split(separator: "\n").first.map(String.init) ?? ""
        }
        #expect(try first("buffers/a/migrate") == "sys/kernel/cdm/buffers/NAME/migrate")
        #expect(try first("/elsewhere/buffers/a/policy") == "sys/kernel/cdm/buffers/NAME/policy")
        #expect(try run([Host.cdmfs, "help", "buffers/a"]).output.contains("buffers/NAME\n"))
        #expect(try run([Host.cdmfs, "topology", "--keys"]).output.contains("[node.link]"))
    }

    // MARK: The first minute

    /// The commands that a text names, each first in a line after a prompt or an indentation.
    private func commands(in text: String, prompt: String) -> Set<String> {
        // What stands in quotes is no command.
        let lines = text.split(separator: "\n").filter { $0.hasPrefix(prompt) }.map {
            String($0.dropFirst(prompt.count)).replacing(/'[^']*('|$)|"[^"]*("|$)/, with: "''")
        }
        let parts = lines.flatMap { $0.split { ";|".contains($0) } }
        return parts.reduce(into: []) { names, part in
            var words = part.split(separator: " ")
            if words.first == "cdmfs", words.dropFirst().first == "run", let end = words.firstIndex(of: "--") {
                names.insert("cdmfs")
                words = Array(words[(end + 1)...])
            }
            guard let name = words.first, name.allSatisfy({ $0.isLetter || $0.isNumber || "-_.".contains($0) }) else {
                return
            }
            names.insert(String(name))
        }
    }

    @Test("start installs every command that the README, the articles and its own text name")
    func tourTools() throws {
        let scripts = Host.package.appending("mount-scripts")
        // The page that is left out names what compiles Linux's own tests.
        let pages = try Documentation.pages.filter { $0.stem != "TheHMMTestDevice" }
            .map { try String(contentsOfFile: $0.string, encoding: .utf8) }.joined()
        let start = try String(contentsOfFile: scripts.appending("start").string, encoding: .utf8)
            .replacing("$name ", with: "cdmfs ")
        let advice = start.split(separator: "<<TEXT").last.map(String.init) ?? ""
        let named = commands(in: pages, prompt: "    # ").union(commands(in: advice, prompt: "    "))
        #expect(named.isSuperset(of: ["numactl", "cdmfs", "lstopo-no-graphics", "truncate", "python3"]))
        // What it would install on a system that has nothing: apt-get and what looks for commands answer so.
        let script = """
            . "$0/setup.sh"
            command() { return 1; }
            python3() { return 1; }
            id() { echo 0; }
            install_packages() { printf '%s\\n' "$@"; }
            set_up_tour
            """
        let outcome = try run(["bash", "-c", script, scripts.string])
        try #require(outcome.succeeded && outcome.errors.isEmpty, "\(outcome.errors)")
        let installed = Set(outcome.output.split(separator: "\n").map(String.init))
        #expect(installed.contains("numactl"))
        #expect(start.contains("\nset_up_tour\n"))
        guard Host.has("dpkg-query") else { return }
        // The shell's own, and what the build makes.
        let own: Set = ["cd", "do", "echo", "for", "read", "cdmfs", "cdmfs-pipeline"]
        for name in named.subtracting(own) {
            let query = """
                file=$(readlink -f "$(command -v "$0")") && [ -n "$file" ] || exit 1
                package=$(dpkg-query -S "$file" /usr"$file" "${file#/usr}" 2>/dev/null | head -n 1 | cut -d: -f1)
                dpkg-query -W -f '${Package} ${Essential} ${Priority}' "$package"
                """
            let answer = try run(["bash", "-c", query, name]).output.split(separator: " ").map(String.init)
            guard let package = answer.first else {
                // A Python of the machine's own is no package's.
                #expect(name == "python3" || name == "swift", "\(name) is no command here")
                continue
            }
            let isThere = answer.contains("yes") || answer.contains("required") || installed.contains(package)
            #expect(isThere || package.hasPrefix("python3"), "\(name) of \(package) is not installed by start")
        }
    }

    @Test("start's own text names the command as a shell finds it")
    func startLinks() throws {
        let start = try String(
            contentsOfFile: Host.package.appending("mount-scripts/start").string, encoding: .utf8)
        for link in ["/usr/local/bin/cdmfs", "/sbin/mount.cdmfs", "/sbin/mount.fuse.cdmfs"] {
            #expect(start.contains("link ") && start.contains(link))
        }
        let outcome = try run(["bash", "-n", Host.package.appending("mount-scripts/start").string])
        #expect(outcome.succeeded, "\(outcome.errors)")
    }
}
