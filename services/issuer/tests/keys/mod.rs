//! Another issuer's keys, for tests alone: they are public with this file.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part; a test fails by panicking")]

use jsonwebtoken::{Algorithm, EncodingKey};
use marque_signing::{SigningKey, base64url, base64url_decode};
use serde_json::{Value, json};

/// PKCS #1 of an RSA key of 2048 bits, and its modulus.
const RSA: &str = "MIIEogIBAAKCAQEAnHH2mDcxRFKkPP-AVxKcicIQ2RLmfDy3CueKqHRhmYcCeMeeETUPi_bu8n5FzdocmgTyue0HKcOATen1PpXx0QwN9nRFrrOYOVgN4UaLShNUWB7DROFY5_o5Ye3N3HEW3jFVCFge6T6HMJ04kkBK3-O-yLY8QyDFEV0KO0VMgiia3jiL6e1q3z0qx24dsTT0nrD-eoC7TSc-15pH1jqPEPc4wCIqxMz252ambg786XKZ9Bkf9Ly2tEqooMgsU7ZLhbL51lsTQHLeq0vnvvrop97a8WnoZ4HRxlglDXWotDDnQlfl7zwlRDNKwZY0Pmchf_0tIyySWYrEPCp-ACsrgwIDAQABAoIBAAhtosPJ_7PpT0wgQ7XtLucyLcJ4qXwoQu3zCN4H3MvuxfUsrRAT-LpNyTjhx8uE21wvIzPvoYwpc3KIRcDRRukbhZNV6bO1U85EN3M2zZOvD8Mzk-5mxPvW_IAjsTEV0qBIZPTKjfxWmVNZS-B_e6Sax_7pnwXKzAVrT1iEG2LxXyJ-WCY0yvZJu4qmPBUcbJ5AH7iPlTmfgQf0uFoLpi4cg88FQ77VrTqW7hekGN2atv-y_dnFJZ5w-rX_F30yL0QR2M0OwogEj3NdPreY8ZuQOkDnXcXnggbAuSzKEWqInFMK-d9J4EAGNq_NRw7q_X294foGdYOxmb_AmZbc4iECgYEA21_MUfGFI_9o9eU5W5R2Q4Oyg_9bk802QzvRxh7LkjaOAz91hoaGgkuggxWx_7BgrdMgWfXe2BFKIeR0Gz9XnhszuRPYTPh8VXPA3BKpEKR93Uk66O8XLbo438KM7KvWVK6dujMPnwLfYwICBA55-LWGCgJ4XMvPIuNiMFVbTdECgYEAtpCJDuSA2ClKNTVF_ioCB1Q4bxmCL3XnPYEebOdHB9RSYrU52Xypk-bT1XPRssfDJZizl-YPKqnwpY1-OveuTtQJqsLP3lP2HmjujL8KZkvlu4rLUIC0EF0WtbPpfxgGDPEFevHgzILMc-76424U7OjW2Hkuojg1UOQFg_4uVRMCgYBYTXtlEJ7TGqAZOqeX4W6pRn24_DTUjanl7lJGOWcf9626SPT5rXS_RcnaegUoMsr3rSA8leeZeXwpoFfMD_cowTJUsVRDx1Hk468h5rD-7fdr92orEPJ3iZoTF7C6I4EmnRMIPD1xeCqLI-fD0j_uiMLnjI7-a1t5Y6XGZtVVwQKBgCCexr6Qea0mA4pqUG1PmDkzBTpktmxAhubocUVINdriRy4373Q64Bn7PpJ_NVLaerX3CO_1PXSEFOmf1JQ4uT6AiJGoaXfyTKG2Yhln8TXCDfRqolVqCcJ6v5oL4YbCBiK91hrXqTEhleKJKu8ENlz2ZZ0cWgbGQFCJzap9-k1dAoGAC-1zAnRugy8pPLDPCrIo3EaIjs5firxjsMUSujS0zrFjNKjGEwQSpNPwihGlsLAF08TU3ESxmvshb1Ecu_5E5I_-bkJubM_1f4lsNoLq64V8MoJkl8y0T3GvYnpZQg6Dar-ZhpdpXPL0cblmEZudnNMoZBISOGBKIJ_P6zQPNck";
const RSA_N: &str = "nHH2mDcxRFKkPP-AVxKcicIQ2RLmfDy3CueKqHRhmYcCeMeeETUPi_bu8n5FzdocmgTyue0HKcOATen1PpXx0QwN9nRFrrOYOVgN4UaLShNUWB7DROFY5_o5Ye3N3HEW3jFVCFge6T6HMJ04kkBK3-O-yLY8QyDFEV0KO0VMgiia3jiL6e1q3z0qx24dsTT0nrD-eoC7TSc-15pH1jqPEPc4wCIqxMz252ambg786XKZ9Bkf9Ly2tEqooMgsU7ZLhbL51lsTQHLeq0vnvvrop97a8WnoZ4HRxlglDXWotDDnQlfl7zwlRDNKwZY0Pmchf_0tIyySWYrEPCp-ACsrgw";
/// PKCS #8 of a P-256 key, and its point.
const EC: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgqZ00qQ6Osv_JR2J3Uf8lqHV1asu1z-SUJlfpDU0tTx6hRANCAATVYQvpeq96emQG-zhrb33FO1X9yO-fggKMwTi3vCyTO8CSojVWv6ByhxGewf2LC0SwfrvANgJFXIoAs1a76DGm";
const EC_X: &str = "1WEL6XqvenpkBvs4a299xTtV_cjvn4ICjME4t7wskzs";
const EC_Y: &str = "wJKiNVa_oHKHEZ7B_YsLRLB-u8A2AkVcigCzVrvoMaY";

/// A key of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa,
    Ec,
    Ed,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Rsa, Self::Ec, Self::Ed];

    pub(crate) fn alg(self) -> &'static str {
        match self {
            Self::Rsa => "RS256",
            Self::Ec => "ES256",
            Self::Ed => "EdDSA",
        }
    }

    /// The `kid` under which [`key_set`] lists it.
    pub(crate) fn kid(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-1",
            Self::Ec => "ec-1",
            Self::Ed => "ed-1",
        }
    }

    pub(crate) fn jwk(self) -> Value {
        match self {
            Self::Rsa => json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "kid": "rsa-1", "use": "sig"}),
            Self::Ec => json!({"kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "kid": "ec-1", "alg": "ES256"}),
            Self::Ed => {
                let jwk = ed().public().jwk();
                json!({"kty": jwk.kty, "crv": jwk.crv, "x": jwk.x, "kid": "ed-1"})
            }
        }
    }

    /// A signature over these bytes, in base64url.
    pub(crate) fn sign(self, message: &[u8]) -> String {
        let der = |text: &str| base64url_decode(text).unwrap();
        match self {
            Self::Rsa => {
                jsonwebtoken::crypto::sign(message, &EncodingKey::from_rsa_der(&der(RSA)), Algorithm::RS256).unwrap()
            }
            Self::Ec => {
                jsonwebtoken::crypto::sign(message, &EncodingKey::from_ec_der(&der(EC)), Algorithm::ES256).unwrap()
            }
            Self::Ed => base64url(&ed().sign(message)),
        }
    }

    /// A token with the header that belongs to it.
    pub(crate) fn token(self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.alg(), "typ": "JWT", "kid": self.kid()}), claims)
    }

    /// A token with this header.
    pub(crate) fn token_with(self, header: &Value, claims: &Value) -> String {
        self.token_of(&header.to_string(), &claims.to_string())
    }

    /// A token of this text.
    pub(crate) fn token_of(self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
        let signature = self.sign(input.as_bytes());
        format!("{input}.{signature}")
    }
}

/// What a thief of the public key makes: a token with `alg` HS256, the RSA modulus for a secret.
pub(crate) fn hs256_with_the_public_key(claims: &Value) -> String {
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": Kind::Rsa.kid()}).to_string();
    let input = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.to_string().as_bytes()));
    let secret = EncodingKey::from_secret(&base64url_decode(RSA_N).unwrap());
    let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &secret, Algorithm::HS256).unwrap();
    format!("{input}.{signature}")
}

/// All three keys as a JWK set.
pub(crate) fn key_set() -> String {
    json!({"keys": Kind::ALL.map(Kind::jwk)}).to_string()
}

fn ed() -> SigningKey {
    SigningKey::from_seed(&[0x1d; 32])
}
