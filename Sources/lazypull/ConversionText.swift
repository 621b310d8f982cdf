// SPDX-License-Identifier: Apache-2.0

internal import Convert
internal import OCI

/// What `convert` says of its work, for people and for programs.
enum ConversionText {
    /// A line for each image.
    static func text(
        _ index: Descriptor?,
        _ reports: [ConversionReport],
        target: ImageName
    ) -> String {
        let lines = reports.map { report in
            if isIndex(report) { return indexText(report) }
            let stored = report.layers.reduce(report.bootstrap.size) { $0 &+ $1.blob.size }
            let chunks = report.layers.reduce(0) { $0 + $1.chunkCount }
            let known = report.layers.reduce(UInt64(0)) { $0 &+ $1.pieces.inDictionary.bytes }
            let reused = report.layers.count(where: \.isReused)
            return "\(report.manifest.digest): \(report.layers.count) layers"
                + (reused > 0 ? " (\(reused) converted before)," : ",")
                + " \(chunks) chunks, \(ByteCount.text(stored)) stored"
                + (known > 0 ? ", \(ByteCount.text(known)) of content in the dictionary\n" : "\n")
        }
        if index == nil, reports.contains(where: isIndex) { return lines.joined() }
        guard let index else { return "\(target) is \(lines.joined())" }
        return "\(target) is \(index.digest), an index with\n\(lines.joined())"
    }

    private static func isIndex(_ report: ConversionReport) -> Bool {
        report.layers.contains { $0.index != nil || $0.storedBecause != nil }
    }

    /// What an index over an image costs, and the layers whose data it stores all the same.
    private static func indexText(_ report: ConversionReport) -> String {
        let size = report.layers.reduce(report.bootstrap.size) { $0 &+ $1.blob.size }
        let source = report.layers.reduce(0) { $0 &+ $1.source.size }
        let windows = report.layers.reduce(0) { $0 + ($1.index?.windowBytes ?? 0) }
        let chunks = report.layers.reduce(0) { $0 + $1.chunkCount }
        let spans = report.layers.reduce(0) { $0 + ($1.index?.spanCount ?? 0) }
        var text = "\(report.manifest.digest): an index over \(report.source.digest),"
        text += " \(spans) spans, \(chunks) chunks,"
        text += " \(ByteCount.text(size)): \(share(size, of: source)) of"
        text += " \(ByteCount.text(source)), windows \(share(UInt64(windows), of: source)),"
        text += " digests \(share(UInt64(chunks) * 32, of: source))\n"
        for layer in report.layers where layer.index?.isWhole == true {
            text += "layer \(layer.source.digest): fetched whole when any of it is read,"
            text += " \(ByteCount.text(layer.source.size)): its zstd stream has no parts that can"
            text += " be decoded alone\n"
        }
        for layer in report.layers {
            guard let reason = layer.storedBecause else { continue }
            let size = ByteCount.text(layer.blob.size)
            text += "layer \(layer.source.digest): stored again, \(size): \(reason)\n"
        }
        return text
    }

    private static func share(_ part: UInt64, of whole: UInt64) -> String {
        let hundredths = Int((Double(part) / Double(max(1, whole)) * 10_000).rounded())
        let fraction = hundredths % 100
        return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction) %"
    }

    /// The space that a conversion needs beside its target.
    static func text(_ need: SpoolNeed) -> String {
        "needs up to \(ByteCount.text(need.bytes)) in \(need.directory) meanwhile, where"
            + " \(ByteCount.text(need.available)) are free"
    }

    /// One image's report as it is; of an index, its descriptor and the reports.
    static func json(
        _ index: Descriptor?,
        _ reports: [ConversionReport],
        _ digests: NamedDigests?,
        seconds: Double
    ) -> JSONValue {
        let images = reports.map(fields)
        guard let index else {
            var fields = images.first ?? [:]
            fields["seconds"] = .double(seconds)
            fields["sourceName"] = digests?.json
            return .object(fields)
        }
        var fields: [String: JSONValue] = [
            "index": index.json,
            "images": .array(images.map { .object($0) }),
            "seconds": .double(seconds),
        ]
        fields["sourceName"] = digests?.json
        return .object(fields)
    }

    private static func fields(_ report: ConversionReport) -> [String: JSONValue] {
        [
            "source": report.source.json,
            "manifest": report.manifest.json,
            "bootstrap": report.bootstrap.json,
            "dictionaryBlobs": .array(report.dictionaryBlobs.map(\.json)),
            "layers": .array(report.layers.map { .object(fields($0)) }),
            "sourceSize": .unsigned(report.layers.reduce(0) { $0 &+ $1.source.size }),
            "storedSize": .unsigned(
                report.layers.reduce(report.bootstrap.size) { $0 &+ $1.blob.size }
            ),
            "stages": stages([
                ("layers", report.times.layers), ("merge", report.times.merge),
                ("bootstrap", report.times.bootstrap), ("documents", report.times.documents),
                ("total", report.times.total),
            ]),
            "spool": report.spool.map { spool in
                .object([
                    "directory": .string(spool.directory), "size": .unsigned(spool.bytes),
                    "free": .unsigned(spool.available),
                ])
            } ?? .null,
            "warnings": .array(report.warnings.map { .string($0) }),
        ]
    }

    private static func fields(_ layer: ConversionReport.Layer) -> [String: JSONValue] {
        let pieces = layer.pieces
        return [
            "source": layer.source.json,
            "blob": layer.blob.json,
            "reused": .bool(layer.isReused),
            // Of what is stored now to what was: below 1 the blob is the smaller.
            "ratio": .double(Double(layer.blob.size) / Double(max(1, layer.source.size))),
            "chunks": .integer(Int64(layer.chunkCount)),
            "contentSize": .unsigned(pieces.all.bytes),
            "deduplicatedChunks": .integer(Int64(pieces.repeated.pieces)),
            "deduplicatedSize": .unsigned(pieces.repeated.bytes),
            "dictionaryChunks": .integer(Int64(pieces.inDictionary.pieces)),
            "dictionarySize": .unsigned(pieces.inDictionary.bytes),
            "uncompressedSize": .unsigned(layer.uncompressedSize),
            "index": layer.index.map { index in
                .object([
                    "compression": .string("\(index.compression)"),
                    "spans": .integer(Int64(index.spanCount)),
                    "windowSize": .integer(Int64(index.windowBytes)),
                    "fetchedWhole": .bool(index.isWhole),
                ])
            } ?? .null,
            "storedBecause": layer.storedBecause.map { .string($0) } ?? .null,
            "stages": stages([
                ("read", layer.times.read), ("wait", layer.times.wait),
                ("write", layer.times.write), ("digest", layer.times.digest),
                ("compress", layer.times.compress),
            ]),
        ]
    }

    /// Stages of the work with their times in seconds.
    private static func stages(_ stages: [(name: String, nanoseconds: UInt64)]) -> JSONValue {
        .object(
            Dictionary(
                uniqueKeysWithValues: stages.map { stage in
                    (stage.name, .double(Double(stage.nanoseconds) / 1e9))
                }
            )
        )
    }
}
