/// Where on a drawing figures are: a frame with axes.
struct Plot {
    let x: ClosedRange<Double>
    let y: ClosedRange<Double>

    /// What the pointer tells of a place in the frame.
    struct Readout {
        var xEnd: Double
        var xUnit: String
        var yEnd: Double?
        var yUnit = ""
        var yName = ""
        /// Whether figures grow downwards.
        var isDown = false
    }

    func place(_ share: Double) -> Double { x.lowerBound + share * (x.upperBound - x.lowerBound) }
    /// From the bottom to the top.
    func height(_ share: Double) -> Double { y.upperBound - share * (y.upperBound - y.lowerBound) }

    /// Draws the frame, which tells the page's script what the pointer is at.
    func drawFrame(_ readout: Readout, in drawing: inout SVG) {
        func attribute(_ name: String, _ value: String) -> String {
            value.isEmpty ? "" : " data-\(name)=\"\(Markup.escaped(value))\""
        }
        drawing.rawFrame(
            x: x.lowerBound, y: y.lowerBound, width: x.upperBound - x.lowerBound, height: y.upperBound - y.lowerBound,
            attributes: attribute("x", "\(readout.xEnd)") + attribute("x-unit", readout.xUnit)
                + attribute("y", readout.yEnd.map { "\($0)" } ?? "") + attribute("y-unit", readout.yUnit)
                + attribute("y-name", readout.yName) + (readout.isDown ? attribute("down", "1") : ""))
    }

    /// Draws the axis of time beneath.
    func drawSeconds(upTo end: Double, in drawing: inout SVG) {
        let scale = Scale(exactlyTo: end, count: max(4, (x.upperBound - x.lowerBound) / 110))
        for tick in scale.ticks {
            let x = place(scale.place(tick))
            drawing.line(from: (x, y.upperBound), to: (x, y.upperBound + 4), class: "axis")
            // The last one keeps within the drawing.
            let anchor: SVG.Anchor = tick == 0 ? .start : x > self.x.upperBound - 14 ? .end : .middle
            drawing.text(Figure.short(tick) + (tick == 0 ? " s" : ""), x: x, y: y.upperBound + 17, anchor: anchor)
        }
    }

    /// Draws lines with figures on the left.
    func drawLevels(_ scale: Scale, _ name: (Double) -> String, in drawing: inout SVG) {
        for tick in scale.ticks {
            let y = height(scale.place(tick))
            drawing.line(from: (x.lowerBound, y), to: (x.upperBound, y), class: "grid")
            drawing.text(name(tick), x: x.lowerBound - 6, y: y + 4, anchor: .end)
        }
    }
}

extension SVG {
    /// A rectangle that is seen by pointers alone.
    fileprivate mutating func rawFrame(x: Double, y: Double, width: Double, height: Double, attributes: String) {
        raw(
            "<rect x=\"\(Markup.number(x))\" y=\"\(Markup.number(y))\" width=\"\(Markup.number(width))\" "
                + "height=\"\(Markup.number(height))\" class=\"frame\" fill=\"none\" pointer-events=\"none\"\(attributes)/>\n"
        )
    }
}

/// Path data, made of whole and half pixels.
struct PathData {
    private(set) var text = ""

    mutating func move(_ x: Double, _ y: Double) { text += "M\(Markup.number(x)) \(Markup.number(y))" }
    mutating func line(_ x: Double, _ y: Double) { text += "L\(Markup.number(x)) \(Markup.number(y))" }
    mutating func close() { text += "z" }

    mutating func rectangle(_ x: Double, _ y: Double, _ width: Double, _ height: Double) {
        move(x, y)
        text += "h\(Markup.number(width))v\(Markup.number(height))h\(Markup.number(-width))z"
    }
}
