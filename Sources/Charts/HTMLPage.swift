/// A page of HTML that needs nothing beside itself: no script, font or picture from elsewhere.
///
/// It is readable without scripts, in light and dark, on paper, and from 360 pixels of width on. With scripts, a pointer on a picture shows what
/// is there, and a click on the title of a column sorts the table.
public struct HTMLPage: Sendable {
    private let title: String
    private var body = ""
    private var contents: [(id: String, title: String)] = []
    private var fills: Set<Fill> = []
    private var pictures = 0

    /// A page without sections.
    ///
    /// - Parameters:
    ///   - title: for the top, and for the browser's.
    ///   - subtitle: a line beneath; may be empty.
    public init(_ title: String, subtitle: String = "") {
        self.title = title
        self.subtitle = subtitle
    }

    private let subtitle: String

    /// Begins a section.
    public mutating func section(_ title: String, id: String) {
        contents.append((id, title))
        body += "</section>\n<section id=\"\(id)\">\n<h2>\(Markup.escaped(title))</h2>\n"
    }

    /// Begins a part of a section.
    public mutating func part(_ title: String) { body += "<h3>\(Markup.escaped(title))</h3>\n" }

    /// Adds a paragraph.
    public mutating func paragraph(_ text: String) { body += "<p>\(Markup.escaped(text))</p>\n" }

    /// Adds a line that must not be missed.
    public mutating func notice(_ text: String) {
        body += "<p class=\"notice\" role=\"note\">\(Markup.escaped(text))</p>\n"
    }

    /// Adds figures, each with what it is.
    public mutating func figures(_ list: [(name: String, value: String)]) {
        body += "<dl class=\"figures\">" + Self.pairs(list) + "</dl>\n"
    }

    /// Adds facts, each with its name.
    public mutating func facts(_ list: [(name: String, value: String)]) {
        body += "<dl class=\"facts\">" + Self.pairs(list) + "</dl>\n"
    }

    /// Adds a table.
    public mutating func add(_ table: DataTable) { body += table.html }

    /// Adds a picture.
    public mutating func add(_ picture: Picture) {
        pictures += 1
        body += picture.html("picture-\(pictures)", &fills)
    }

    private static func pairs(_ list: [(name: String, value: String)]) -> String {
        list.map { "<div><dt>\(Markup.escaped($0.name))</dt><dd>\(Markup.escaped($0.value))</dd></div>" }.joined()
    }

    /// The whole page.
    public var html: String {
        let list = contents.map { "<li><a href=\"#\($0.id)\">\(Markup.escaped($0.title))</a></li>" }.joined()
        let subtitle = subtitle.isEmpty ? "" : "<p class=\"subtitle\">\(Markup.escaped(subtitle))</p>"
        return """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8" />
            <meta name="viewport" content="width=device-width, initial-scale=1" />
            <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'" />
            <title>\(Markup.escaped(title))</title>
            <style>\(Style.colours)\(Style.drawing)\(Style.rules(of: fills))\(Self.style)</style>
            </head>
            <body>
            <svg width="0" height="0" class="definitions" aria-hidden="true"><defs>\(Style.definitions(of: fills))</defs></svg>
            <header>
            <h1>\(Markup.escaped(title))</h1>
            \(subtitle)
            </header>
            <nav aria-label="Sections"><ul>\(list)</ul></nav>
            <main>
            <section>
            \(body)</section>
            </main>
            <script>\(Self.script)</script>
            </body>
            </html>

            """
    }

    private static let style = """
        :root{color-scheme:light dark}*{box-sizing:border-box}html{scroll-padding-top:1rem}
        @media(prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
        body{margin:0 auto;padding:1rem;max-width:70rem;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif;
        overflow-wrap:anywhere}
        .definitions{position:absolute}
        h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.25rem;margin:0 0 .5rem}h3{font-size:1rem;margin:1.5rem 0 .25rem}
        p{margin:.4rem 0;max-width:46rem}.subtitle,.rest{color:var(--quiet)}
        a{color:var(--blue)}a:focus-visible,.table:focus-visible,summary:focus-visible,button:focus-visible{outline:2px solid var(--blue);
        outline-offset:2px}
        nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;padding:0;margin:.75rem 0;list-style:none}
        section{padding:1.25rem 0;border-top:1px solid var(--faint)}section:first-child{border:0;padding-top:0}
        .notice{border-left:4px solid var(--orange);background:var(--shade);padding:.5rem .75rem;max-width:none}
        dl{margin:.75rem 0}dt{color:var(--quiet)}dd{margin:0}
        .figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.5rem}
        .figures div{background:var(--shade);border-radius:6px;padding:.5rem .75rem;display:flex;flex-direction:column}
        .figures dt{font-size:.85rem}.figures dd{font-size:1.25rem;font-weight:600}
        .facts div{display:grid;grid-template-columns:8rem 1fr;gap:.5rem}
        figure{margin:1rem 0}figcaption{font-weight:600}
        figure>svg{display:block;width:100%;height:auto}figure .narrow{display:none;max-width:30rem}
        .legend{display:flex;flex-wrap:wrap;gap:.15rem 1rem;padding:0;margin:.35rem 0;list-style:none;font-size:.85rem}
        .sample{vertical-align:-3px;margin-right:.35rem}.switch{font-size:.85rem;float:right}
        figure:has(.switch input:not(:checked)) .marks{display:none}
        .table{overflow:auto;max-height:24rem;margin:.75rem 0;width:fit-content;max-width:100%;border:1px solid var(--faint);border-radius:6px}
        table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
        caption{text-align:left;color:var(--quiet);padding:.4rem .6rem}
        caption span{position:sticky;left:.6rem;display:inline-block;max-width:min(40rem,calc(100vw - 3.5rem))}
        th,td{text-align:left;padding:.25rem .6rem;border-top:1px solid var(--faint);font-weight:400;vertical-align:top;min-width:4rem}
        td,.n{overflow-wrap:normal}tbody th:not(.n){min-width:8rem;unicode-bidi:plaintext}
        thead th{font-weight:600;position:sticky;top:0;background:var(--shade)}.n{text-align:right;white-space:nowrap}
        th button{font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer}
        th[aria-sort] button::after{content:" \\2191"}th[aria-sort=descending] button::after{content:" \\2193"}
        #tip{position:fixed;pointer-events:none;background:var(--ink);color:var(--ground);border-radius:4px;padding:.2rem .5rem;
        font-size:.8rem;max-width:20rem;z-index:1}
        @media(max-width:44rem){figure .wide{display:none}figure .narrow{display:block}.facts div{grid-template-columns:1fr;gap:0}
        .switch{float:none}}
        @media print{body{max-width:none;font-size:10pt;padding:0}nav,.switch,#tip{display:none}.table{max-height:none;overflow:visible}
        figure,tr{break-inside:avoid}thead{display:table-row-group}thead th{position:static}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
        figure .wide{display:block}figure .narrow{display:none}}
        """

    private static let script = """
        "use strict";
        (function () {
          var tip = document.createElement("div");
          tip.id = "tip"; tip.hidden = true; document.body.append(tip);
          function shown(value, unit) {
            if (unit !== "bytes") return value.toPrecision(4) + " " + unit;
            var names = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], place = 0;
            while (value >= 1024 && place < names.length - 1) { value /= 1024; place++; }
            return value.toPrecision(4) + " " + names[place];
          }
          document.querySelectorAll("figure > svg").forEach(function (svg) {
            var frame = svg.querySelector(".frame");
            svg.querySelectorAll("title").forEach(function (title) {
              if (title.parentNode === svg) return;
              title.parentNode.setAttribute("data-tip", title.textContent); title.remove();
            });
            svg.addEventListener("pointermove", function (event) {
              var parts = [], hit = event.target.closest("[data-tip]");
              if (hit) parts.push(hit.getAttribute("data-tip"));
              if (frame) {
                var box = frame.getBoundingClientRect(), data = frame.dataset;
                var x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
                if (x >= 0 && x <= 1 && y >= 0 && y <= 1) {
                  parts.push(shown(x * data.x, data.xUnit));
                  if (data.y) parts.push((data.yName || "") + shown((data.down ? y : 1 - y) * data.y, data.yUnit));
                }
              }
              tip.hidden = parts.length === 0; tip.textContent = parts.join(" \\u00b7 ");
              var left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 4);
              tip.style.left = Math.max(left, 4) + "px"; tip.style.top = event.clientY + 18 + "px";
            });
            svg.addEventListener("pointerleave", function () { tip.hidden = true; });
          });
          document.querySelectorAll(".table table").forEach(function (table) {
            table.querySelectorAll("thead th").forEach(function (head, column) {
              var button = document.createElement("button");
              button.type = "button"; button.textContent = head.textContent; head.textContent = ""; head.append(button);
              button.addEventListener("click", function () {
                var down = head.getAttribute("aria-sort") === "ascending", body = table.tBodies[0];
                table.querySelectorAll("th[aria-sort]").forEach(function (other) { other.removeAttribute("aria-sort"); });
                head.setAttribute("aria-sort", down ? "descending" : "ascending");
                function key(row) { return row.cells[column].textContent; }
                function number(text) { return parseFloat(text.replace(/[\\u202f,]/g, "")); }
                Array.from(body.rows).sort(function (one, two) {
                  var a = key(one), b = key(two), order = head.classList.contains("n") ? number(a) - number(b) : a.localeCompare(b);
                  return (down ? -1 : 1) * (order || 0);
                }).forEach(function (row) { body.append(row); });
              });
            });
          });
        }());
        """
}
