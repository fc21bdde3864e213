@main
struct Cdmfs {
    static func main() { print("cdmfs") }
}
