import Testing

extension Mounts {
    /// Numbers, times, modes, handles and attributes of files. What each scenario expects stands in Tests/Clients/metadata.py.
    @Suite("Metadata")
    struct MetadataTests {
        @Test(
            "Metadata as tmpfs and sysfs have it",
            arguments: [
                "numbers", "access", "mappings", "modes", "handles", "temporary", "attributes", "sockets", "privileges",
            ])
        func scenario(name: String) throws {
            try TestMount.with { mount in
                let outcome = try run(["python3", Client.metadata, name, mount.path], within: 60)
                try #require(outcome.succeeded, "\(name): \(outcome.errors)")
                #expect(outcome.output.hasSuffix("done\n"))
            }
        }

        @Test("A mount with noatime keeps times of last access as they are")
        func withoutAccessTimes() throws {
            try TestMount.with(options: ["noatime"]) { mount in
                let outcome = try run(["python3", Client.metadata, "access", mount.path], within: 60)
                #expect(!outcome.succeeded && outcome.errors.contains("False, expected True"), "\(outcome.errors)")
            }
        }
    }

    /// What libfuse does not know comes over each transport.
    @Suite("Metadata over each transport", .overEachTransport)
    struct TransportMetadataTests {
        @Test("Files without a name, and file handles", arguments: ["temporary", "handles"])
        func scenario(name: String) throws {
            try TestMount.with { mount in
                let outcome = try run(["python3", Client.metadata, name, mount.path], within: 60)
                try #require(outcome.succeeded, "\(name): \(outcome.errors)")
            }
        }
    }
}
