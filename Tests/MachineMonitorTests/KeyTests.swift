import Testing

@testable import MachineMonitor

/// Keys and what they change.
@Suite("Keys of the monitor")
struct KeyTests {
    @Test("Keys and escape sequences, whole, in pieces, and unknown ones")
    func decoding() {
        var decoder = KeyDecoder()
        #expect(decoder.keys("qS \t\r".utf8) == [.character("q"), .character("S"), .character(" "), .tab, .enter])
        #expect(
            decoder.keys("\u{1b}[A\u{1b}OB\u{1b}[1;5C\u{1b}[5~\u{1b}[Z".utf8) == [
                .up, .down, .right, .pageUp, .backTab,
            ])
        #expect(decoder.keys("\u{1b}[".utf8) == [])
        #expect(decoder.keys("6~x".utf8) == [.pageDown, .character("x")])
        #expect(decoder.keys("\u{1b}".utf8) == [.escape])
        #expect(decoder.keys("\u{1b}x\u{1b}[200~é\u{1b}[99zq".utf8) == [.character("q")])
        #expect(decoder.keys([0x1b, 0x5b] + [UInt8](repeating: 0x31, count: 100)) == [])
        #expect(decoder.keys("q".utf8) == [.character("q")])
    }

    private let snapshot = Example.snapshot()

    private func press(_ keys: Key..., to state: inout ViewState) -> ViewState.Outcome {
        var outcome = ViewState.Outcome.nothing
        for key in keys { outcome = state.press(key, snapshot, pageLength: 10) }
        return outcome
    }

    @Test("Panels, zoom, pause, help, quit")
    func panels() {
        var state = ViewState()
        #expect(press(.character("5"), to: &state) == .changed && state.focus == .buffers)
        #expect(press(.tab, .tab, .tab, .tab, to: &state) == .changed && state.focus == .nodes)
        #expect(press(.backTab, to: &state) == .changed && state.focus == .events)
        #expect(press(.character("z"), .character("p"), .character("?"), to: &state) == .changed)
        #expect(state.isZoomed && state.isPaused && state.showsHelp)
        #expect(press(.escape, to: &state) == .changed && !state.showsHelp && state.isZoomed)
        #expect(press(.escape, .character(" "), to: &state) == .changed && !state.isZoomed && !state.isPaused)
        #expect(press(.character("y"), to: &state) == .nothing)
        #expect(press(.character("\u{c}"), to: &state) == .redraw)
        #expect(press(.character("q"), to: &state) == .quit)
    }

    @Test("A buffer is selected by its number, whatever the order is")
    func selection() {
        var state = ViewState()
        #expect(state.buffer(of: snapshot)?.id == 5)
        _ = press(.character("5"), .down, to: &state)
        #expect(state.selected == 6)
        _ = press(.end, .down, .down, to: &state)
        #expect(state.selected == 7)
        // By name.
        _ = press(.character("s"), to: &state)
        #expect(Screen.buffers(of: snapshot, state).map(\.id) == [7, 5, 6] && state.selected == 7)
        _ = press(.character("r"), to: &state)
        #expect(Screen.buffers(of: snapshot, state).map(\.id) == [6, 5, 7])
        _ = press(.home, to: &state)
        #expect(state.selected == 6)
        for _ in 0..<Screen.columnCount(of: .buffers) { _ = press(.character("s"), to: &state) }
        #expect(state.sorts.isEmpty)
        _ = press(.character("S"), to: &state)
        #expect(state.sorts[.buffers]?.column == Screen.columnCount(of: .buffers) - 1)
    }

    @Test("The map is doubled, moved and reset, and stays within the buffer")
    func map() {
        var state = ViewState()
        let size = 64 << 20 as UInt64
        #expect(state.mapRange(ofSize: size) == 0..<size)
        _ = press(.character("+"), to: &state)
        #expect(state.mapRange(ofSize: size) == 16 << 20..<48 << 20)
        _ = press(.right, .right, .right, .right, .right, to: &state)
        #expect(state.mapRange(ofSize: size) == 32 << 20..<64 << 20)
        _ = press(.left, to: &state)
        #expect(state.mapRange(ofSize: size).lowerBound == 24 << 20)
        for _ in 0..<100 { _ = press(.character("+"), to: &state) }
        #expect(state.mapRange(ofSize: size).count == 64 * 4096)
        for _ in 0..<100 { _ = press(.character("-"), .left, to: &state) }
        #expect(state.mapRange(ofSize: size) == 0..<size)
        for size in [0, 1, 4095, 4097, .max] as [UInt64] {
            let range = state.mapRange(ofSize: size)
            #expect(range.upperBound <= size)
        }
        _ = press(.character("+"), .character("0"), to: &state)
        #expect(state.mapRange(ofSize: size) == 0..<size)
    }
}
