import ArgumentParser
import CoherentFS
import CoherentMemory
import Glibc
import LinuxSupport
import MachineTopology

extension CompletionKind {
    /// The places where machines are mounted.
    static let mountPoints = CompletionKind.custom { _, _, typed in
        let mounts = (try? MountInfo.all(of: getpid())) ?? []
        return mounts.filter { $0.isMachine }.map(\.mountPoint).filter { $0.hasPrefix(typed) }
    }

    /// The names of the presets.
    static let presets = CompletionKind.list(Topology.presets.map(\.name))

    /// The commands, and the files of a mount.
    static let helpTopics = CompletionKind.custom { _, _, typed in
        let files = try? FileReference().completions(of: typed)
        return Cdmfs.commandNames.filter { $0.hasPrefix(typed) } + (files ?? [])
    }
}

/// The scripts of `--generate-completion-script`: the parser's, with what they need beside.
enum CompletionScript {
    /// The script that the words of a command line ask for; nil where they ask for none that there is.
    static func requested(by words: [String]) -> String? {
        let option = "--generate-completion-script"
        let name =
            words.count == 2 && words[0] == option
            ? words[1]
            : words.count == 1 && words[0].hasPrefix(option + "=") ? String(words[0].dropFirst(option.count + 1)) : ""
        return CompletionShell(rawValue: name).map(text)
    }

    private static func text(for shell: CompletionShell) -> String {
        let script = withoutSecondHelp(Cdmfs.completionScript(for: shell))
        switch shell {
        case .bash: return script + "\n" + wholeWords
        // Before fish 4, commandline(1) does not tell the place within a token.
        case .fish: return script.replacing("(__cdmfs_tokens -tC)", with: "(string length -- (commandline -ct))")
        default: return script
        }
    }

    /// The script without the function for the `help` that the parser adds to ours, and which would take its place.
    private static func withoutSecondHelp(_ script: String) -> String {
        let begins = script.ranges(of: "\n_cdmfs_help() {\n")
        guard begins.count == 2, let end = script[begins[1].upperBound...].firstRange(of: "\n}\n") else {
            return script
        }
        return String(script[..<begins[1].lowerBound] + script[end.lowerBound...].dropFirst(2))
    }

    /// Bash takes `huge=always` for three words, and expects only the last of them in an answer.
    private static let wholeWords = #"""

        # `=` and `:` do not end a word of cdmfs, as in `-o huge=always`.
        _cdmfs_whole_words() {
            local rest="${COMP_LINE}" part
            local -a whole=()
            local -i place cword=0
            for ((place = 0; place < ${#COMP_WORDS[@]}; place++)); do
                part="${COMP_WORDS[place]}"
                if [[ place -eq 0 || "${rest}" = [[:space:]]* ]] ||
                    [[ "${part}" != [=:]* && "${COMP_WORDS[place - 1]}" != *[=:] ]]; then
                    whole+=("${part}")
                else
                    whole[-1]+="${part}"
                fi
                rest="${rest#"${rest%%[![:space:]]*}"}"
                rest="${rest#"${part}"}"
                if [[ place -eq COMP_CWORD ]]; then cword=${#whole[@]}-1; fi
            done
            local -a COMP_WORDS=("${whole[@]}")
            local -i COMP_CWORD=cword
            local word="${whole[cword]}"
            _cdmfs "${1}" "${word}" "${whole[cword - 1]}"
            local begin="${word%"${word##*[=:]}"}"
            if [[ -n "${begin}" && "${COMP_WORDBREAKS}" = *=* ]]; then COMPREPLY=("${COMPREPLY[@]#"${begin}"}"); fi
            if [[ "${#COMPREPLY[@]}" -eq 1 && "${COMPREPLY[0]}" = *[=/] ]]; then compopt -o nospace 2>/dev/null; fi
            return 0
        }
        complete -o filenames -F _cdmfs_whole_words cdmfs
        """#
}
