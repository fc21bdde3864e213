import CoherentMemory

/// Where the pages of a process are that are not simply in system memory, by their numbers.
struct DevicePlacements: Sendable {
    private var placements: [UInt64: DevicePlacement] = [:]
    /// What has come back, and still has its frame.
    private var returned: [DevicePlacement] = []
    /// The devices that pages are on, and how many.
    private var residents: [(device: MirrorDevice, pages: Int)] = []

    var isEmpty: Bool { placements.isEmpty }
    var count: Int { placements.count }

    subscript(page: UInt64) -> DevicePlacement? {
        get { placements[page] }
        set {
            let old = placements[page]
            placements[page] = newValue
            if let device = newValue?.device { count(1, on: device) }
            if let device = old?.device { count(-1, on: device) }
            guard let old, let device = old.device else { return }
            if newValue?.device !== device || newValue?.slot != old.slot { returned.append(old) }
        }
    }

    /// Looks for a touch by the CPU no more.
    mutating func unwatch(_ page: UInt64) { placements[page]?.isWatched = false }

    /// The pages of a mapping whose next touch is to be seen, ascending.
    func watched(in addresses: Range<UInt64>) -> [UInt64] {
        placements.filter { $1.isWatched && addresses.contains($0 << Page.shift) }.keys.sorted()
    }

    /// The devices that pages are on.
    var devices: [MirrorDevice] { residents.map(\.device) }

    private mutating func count(_ pages: Int, on device: MirrorDevice) {
        guard let place = residents.firstIndex(where: { $0.device === device }) else {
            residents.append((device, pages))
            return
        }
        residents[place].pages += pages
        if residents[place].pages == 0 { residents.remove(at: place) }
    }

    /// Gives back the frames of pages that are on a device no more.
    mutating func giveBack() {
        guard !returned.isEmpty else { return }
        let byDevice = Dictionary(grouping: returned) { [$0.device?.number ?? 0, Int($0.generation)] }
        for part in byDevice.values {
            part[0].device?.memory.give(back: part.map(\.slot), generation: part[0].generation)
        }
        returned = []
    }
}
