import Foundation
import Testing

@testable import MachineMonitor

/// What is drawn. Tests/MachineMonitorTests/Frames has frames as they should be; with CDMFS_DRAW_FRAMES in the environment they are
/// written anew, to be looked at.
@Suite("Screen of the monitor")
struct ScreenTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Frames")

    private func check(_ text: String, _ name: String) throws {
        let file = Self.folder.appending(path: name + ".txt")
        if ProcessInfo.processInfo.environment["CDMFS_DRAW_FRAMES"] != nil {
            try text.write(to: file, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: file, encoding: .utf8) == text, "\(name)\n\(text)")
    }

    private func text(_ frame: [Line]) -> String { frame.map { $0.trimmed + "\n" }.joined() }

    private func state(_ keys: Key..., snapshot: Snapshot = Example.snapshot()) -> ViewState {
        var state = ViewState()
        for key in keys { _ = state.press(key, snapshot, pageLength: 10) }
        return state
    }

    @Test("Frames", arguments: [(40, 10), (80, 24), (200, 60)])
    func frames(width: Int, height: Int) throws {
        for isUnicode in [false, true] {
            let cells = CellText(isUnicode: isUnicode)
            let frame = Screen(Example.snapshot(), ViewState(), cells).frame(width: width, height: height)
            #expect(frame.count == height)
            for line in frame { #expect(cells.width(line.text) == width, "\(line.text)") }
            try check(text(frame), "\(width)x\(height)\(isUnicode ? "" : "-ascii")")
        }
    }

    @Test("A panel on the whole screen, help, and what an ordinary user sees")
    func others() throws {
        let (snapshot, cells) = (Example.snapshot(), CellText(isUnicode: true))
        for panel in Panel.allCases {
            let state = state(.character(Character("\(panel.rawValue)")), .character("z"))
            try check(text(Screen(snapshot, state, cells).frame(width: 80, height: 24)), "zoomed-\(panel.rawValue)")
        }
        try check(
            text(Screen(snapshot, state(.character("?"), .down), cells).frame(width: 80, height: 24)), "help")
        let user = Screen(Example.snapshot(isRoot: false), state(.character("p")), cells, notice: "no answer for 7 s")
        try check(text(user.frame(width: 80, height: 24)), "user")
        for line in Screen.help { #expect(line.count <= 80) }
    }

    @Test("The page is plain text: no escapes, no pictures, nothing cut")
    func page() throws {
        let page = Screen(Example.snapshot(), ViewState(), CellText(isUnicode: true)).page
        try check(page, "page")
        #expect(page.unicodeScalars.allSatisfy { $0 == "\n" || $0.properties.generalCategory != .control })
        #expect(Screen(Example.snapshot(), ViewState(), CellText(isUnicode: false)).page.utf8.allSatisfy { $0 < 0x80 })
    }

    @Test("Names: wide, combining, controls, direction, endless marks")
    func names() {
        let cells = CellText(isUnicode: true)
        for (name, shown, width) in [
            ("plain", "plain", 5), ("日本", "日本", 4), ("e\u{301}x", "e\u{301}x", 2), ("\u{301}x", "\\u{0301}x", 9),
            ("a\u{1b}[2Jb\n", "a\\u{1B}[2Jb\\n", 13), ("\u{202e}x", "\\u{202E}x", 9), ("\u{9b}2J", "\\u{009B}2J", 10),
            ("a\u{301}\u{301}\u{301}\u{301}", "a\u{301}\u{301}\\u{0301}\\u{0301}", 17), ("👍", "👍", 2),
            ("a\u{200b}b", "a\\u{200B}b", 10), ("\u{7f}", "\\u{7F}", 6), ("x\u{fe0f}", "x\\u{FE0F}", 9),
        ] {
            #expect(cells.shown(name) == shown)
            #expect(cells.width(cells.shown(name)) == width, "\(shown)")
        }
        #expect(CellText(isUnicode: false).shown("日a") == "\\u{65E5}a")
        for width in 0..<8 {
            for text in ["日本語", "a日b本", "abcdefgh", ""] {
                let fitted = cells.fitted(text, to: width)
                #expect(cells.width(fitted) == width, "\(text) to \(width): \(fitted)")
            }
        }
        #expect(cells.fitted("日本語", to: 4) == "日… " && cells.fitted("ab", to: 4, isLeading: false) == "  ab")
    }

    @Test("A frame of a hundred nodes and ten thousand buffers has its size, and the selected buffer in it")
    func large() throws {
        var model = MachineModel(mountPoint: "/" + String(repeating: "long", count: 50))
        let buffers = (1...10_000).map { "\($0) 4096 4096 0 0 \($0 % 977) 0 0 N0=1 - b\($0)\n" }.joined()
        model.add(BufferTable(buffers, at: 0))
        let snapshot = model.add(MachineFigures(Example.metrics(nodes: 100), at: 0), at: 0)
        var state = state(.character("5"), .end, snapshot: snapshot)
        let cells = CellText(isUnicode: true)
        let last = try #require(Screen.buffers(of: snapshot, state).last?.figures.name)
        for (width, height) in [(40, 10), (80, 24), (139, 3), (140, 50), (200, 60)] {
            let frame = Screen(snapshot, state, cells).frame(width: width, height: height)
            #expect(frame.count == height && frame.allSatisfy { cells.width($0.text) == width })
            if height > 3 { #expect(frame.contains { $0.text.contains("> \(last) ") }, "\(width)x\(height)") }
        }
        _ = state.press(.character("1"), snapshot, pageLength: 10)
        _ = state.press(.character("z"), snapshot, pageLength: 10)
        let top = text(Screen(snapshot, state, cells).frame(width: 80, height: 24))
        #expect(top.contains("node0 ") && top.contains("and 80 more"))
        _ = state.press(.end, snapshot, pageLength: 10)
        #expect(text(Screen(snapshot, state, cells).frame(width: 80, height: 24)).contains("node99 "))
        #expect(Screen(snapshot, state, cells).page.split(separator: "\n").count > 10_200)
    }

    @Test("A bar has a cell for a little, and is full only when all is")
    func bars() {
        let bars = Bars(cells: CellText(isUnicode: false))
        #expect(bars.share(0, 5, .plain).text == "     " && bars.share(0.001, 5, .plain).text == "#    ")
        #expect(bars.share(0.999, 5, .plain).text == "#### " && bars.share(1, 5, .plain).text == "#####")
        var node = Snapshot.Node(id: 0)
        #expect(bars.memory(node, 6).text == "[    ]")
        (node.present, node.free, node.active) = (100, 50, 20)
        (node.min, node.low, node.high) = (10, 20, 30)
        #expect(bars.memory(node, 12).text == "[##===..hlm]")
        #expect(bars.memory(node, 2).text == "[]" && bars.memory(node, 0).text == "[]")
    }

    // MARK: Bytes

    @Test("Only what has changed is drawn; no colours means none")
    func rendering() {
        let cells = CellText(isUnicode: true)
        var renderer = Renderer(.none, cells)
        let (a, b) = ([Line("one", .alarm), Line("日x", .node(3))], [Line("one", .alarm), Line("two", .selected)])
        let first = renderer.text(a, width: 5, height: 2)
        #expect(first == "\u{1b}[0m\u{1b}[2J\u{1b}[1;1H\u{1b}[1mone\u{1b}[0m  \u{1b}[2;1H日x\u{1b}[4G  ")
        #expect(renderer.text(a, width: 5, height: 2) == "")
        #expect(renderer.text(b, width: 5, height: 2) == "\u{1b}[2;1H\u{1b}[7mtwo  \u{1b}[0m")
        renderer.forget()
        #expect(renderer.text(b, width: 5, height: 2).hasPrefix("\u{1b}[0m\u{1b}[2J"))
        #expect(renderer.text(b, width: 4, height: 2).hasPrefix("\u{1b}[0m\u{1b}[2J"))
        let everything = Screen(Example.snapshot(), ViewState(), cells).frame(width: 200, height: 60)
        var plain = Renderer(.none, cells)
        let codes = plain.text(everything, width: 200, height: 60).matches(of: /\x1b\[([0-9;]*)m/).map { String($0.1) }
        #expect(Set(codes).isSubset(of: ["0", "1", "2", "7", "1;4", "1;7"]))
        var colored = Renderer(.many, cells)
        #expect(colored.text(everything, width: 200, height: 60).contains("48;5;"))
        var sixteen = Renderer(.sixteen, cells)
        let text = sixteen.text(everything, width: 200, height: 60)
        #expect(text.contains("\u{1b}[30;4") && !text.contains(";5;"))
    }

    @Test("Colours by the environment")
    func colors() {
        for (environment, depth) in [
            (["TERM": "xterm-256color"], ColorDepth.many), (["TERM": "xterm-256color", "NO_COLOR": "1"], .none),
            (["TERM": "xterm-256color", "NO_COLOR": ""], .many), (["TERM": "linux"], .sixteen),
            (["TERM": "linux", "COLORTERM": "truecolor"], .many), (["TERM": "dumb", "COLORTERM": "truecolor"], .none),
            ([:], .none), (["TERM": "vt220"], .none), (["TERM": "xterm-mono"], .none),
        ] { #expect(ColorDepth(environment) == depth, "\(environment)") }
    }
}
