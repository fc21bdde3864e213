public import CoherentMemory

/// What a recorded trace consists of.
public enum TraceRecord: Sendable, Hashable {
    /// An event. Its thread has the number that the recorder knows it by.
    case event(TraceEvent)
    /// Events that the recorder lost at this place.
    case lost(UInt64)
    /// The name of a buffer from here on.
    case name(buffer: UInt64, String)
}
