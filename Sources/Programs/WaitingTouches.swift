import CoherentMemory

/// Touches for which there is no frame at the moment: a node whose blocks have just gone offline, or are about to come online, has none
/// meanwhile.
struct WaitingTouches {
    private struct Place: Hashable {
        let space: AddressSpace.Mark
        let page: UInt64
    }

    private struct Retry {
        var attempts = 0
        var last: ContinuousClock.Instant
    }

    /// Pages that are to be touched once more.
    private var pages: [(space: AddressSpace, page: UInt64)] = []
    private var retries: [Place: Retry] = [:]

    /// How long, in milliseconds, such a touch waits before it is repeated.
    static let interval: Int32 = 2
    /// So often it is repeated before its process is killed.
    private static let limit = 8
    /// After so long it is another touch of the page.
    private static let memory = Duration.milliseconds(100)

    /// The pages, which are then forgotten.
    mutating func take() -> [(space: AddressSpace, page: UInt64)] {
        defer { pages = [] }
        return pages
    }

    /// Takes note of a touch.
    ///
    /// - Parameter isForced: whether it is to be repeated in any case.
    /// - Returns: false where it has been repeated often enough.
    mutating func note(_ page: UInt64, of space: AddressSpace, isForced: Bool, at now: ContinuousClock.Instant = .now)
        -> Bool
    {
        let place = Place(space: space.mark, page: page)
        var retry = retries[place] ?? Retry(last: now)
        if now - retry.last > Self.memory { retry.attempts = 0 }
        // Blocks go one after the other: between two of them the count begins anew.
        retry = Retry(attempts: isForced ? 0 : retry.attempts + 1, last: now)
        guard retry.attempts <= Self.limit else {
            retries[place] = nil
            return false
        }
        if retries.count > 1024 { retries = [:] }
        retries[place] = retry
        pages.append((space, page))
        return true
    }
}
