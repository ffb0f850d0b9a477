use pilot_types::encode_hex;

use super::*;

/// Everything that goes over the wire between two ends with fixed keys and seeds, as a later version of this code or another
/// implementation must produce it. Agent A is 32 bytes 0x0A with that as its secret key, B likewise with 0x0B; a seed is
/// the agent with its first byte 0.
const MESSAGE_1: &str = "8001a7ab5bb5410240f7099b9366480af960484ea4995dc7dbec9d603d4fa88075b01af0525fc7859b937e78b0a1cf8c\
    8491ee113938a2f0cff0d74b34700211bc8cdc0b96f721e063a3cc9ae57f78c3e4d3e9b53facd615300e7cc11e55dbf8\
    422c2a9bc2cab67bf21a52ea98f790f66e02f4566803533417fa185063cd2aa2ce447322aea5bcbf0efc061536b817bf\
    ed2475ba08fa41fbd54925f1880e4eec25cac07cec55b8d875481d06a507e36f06d29c15bf79bdbd8472bf9f2003cf3c\
    fbc3d171e194e792b8bcf097561edb8d350cc2661213c074973d20621ab6cc1e00000000000000000000000000000000";
const MESSAGE_2: &str = "81015188bc39a7ab5bb5e0cabd9586f49de2ae1f8c5d47fb329396a142a3ea58e283f76026c8b216556900dc1f73fffa\
    f2c6c47534f3d365cf764b512d9ff267e0a26b975e15ea93ff5dfa9b69dfc80c0bdbc5280403d9a1df4d278894fddc1e\
    1ac1b4d910fd2db91964e52702776e5967484cef3d972728b1a15eb0aaac1b85fac13d7e7aa5531b369e415d0dda17ec\
    de4b93b59100000000000000000000000000000000";
const FROM_INITIATOR: &str = "c55188bc397b55729301d0ad0679249c0b23b9cd155d493b6d02ef11a6711f7b110708a2135501224abc776b229d2514\
    94d8";
const FROM_RESPONDER: &str = "e6a7ab5bb5be7e3dffa7871cb2510c6a82d51636c22d9a57bd";
const EXPORTED: &str = "69fe6a281a254a15058c0f4bd02a9ddff58eb3c7c4fcd94785d5c7308d4f3c52";

#[test]
fn the_whole_handshake_of_fixed_seeds_never_changes() {
    let mut pair = Pair::new();
    pair.confirms = false;
    pair.connect(A);
    let message_1 = pair.wire.pop_front().unwrap();
    assert_eq!(encode_hex(&message_1.bytes), MESSAGE_1);
    pair.deliver(message_1);
    let message_2 = pair.wire.pop_front().unwrap();
    assert_eq!(encode_hex(&message_2.bytes), MESSAGE_2);
    pair.deliver(message_2);
    let bytes = pair.seal(A, b"the first packet confirms").unwrap();
    assert_eq!(encode_hex(&bytes), FROM_INITIATOR);
    pair.deliver(Flying {
        to: B,
        path: path(1),
        bytes,
    });
    assert_eq!(pair.nodes[B].inbox, [b"the first packet confirms"]);
    let bytes = pair.seal(B, b"").unwrap();
    assert_eq!(encode_hex(&bytes), FROM_RESPONDER);
    let mut exported = [0; 32];
    let endpoint = &pair.nodes[B].endpoint;
    endpoint
        .export(&pair.id(A), "label", b"context", &mut exported)
        .unwrap();
    assert_eq!(encode_hex(&exported), EXPORTED);
}
