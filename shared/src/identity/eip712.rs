//! Typed data as accounts sign it (EIP-712), for structs of words only: all that our contracts know.

use sha3::{Digest, Keccak256};

use super::Account;

/// One word of a typed struct.
pub type Word = [u8; 32];

/// The Keccak-256 hash of `parts` in a row, as the chain computes it.
pub fn keccak256(parts: &[&[u8]]) -> Word {
    let mut hasher = Keccak256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// An account as a word.
pub fn account_word(account: Account) -> Word {
    let mut word = [0; 32];
    word[12..].copy_from_slice(&account.0);
    word
}

/// A number as a word.
pub fn number_word(number: u128) -> Word {
    let mut word = [0; 32];
    word[16..].copy_from_slice(&number.to_be_bytes());
    word
}

/// Hash of a struct by its type (`Voucher(address payer,…)`) and the words of its fields.
pub fn struct_hash(kind: &str, words: &[Word]) -> Word {
    let kind = keccak256(&[kind.as_bytes()]);
    let mut hasher = Keccak256::new();
    hasher.update(kind);
    words.iter().for_each(|word| hasher.update(word));
    hasher.finalize().into()
}

/// Where a signature is good: nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// What the contract calls itself.
    pub name: &'static str,
    /// Which layout of its statements.
    pub version: &'static str,
    /// The chain.
    pub chain_id: u64,
    /// The contract that checks it; nothing for statements that no contract reads.
    pub contract: Option<Account>,
}

/// A domain's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Separator(pub Word);

impl Domain {
    /// The domain's hash.
    pub fn separator(&self) -> Separator {
        let name = keccak256(&[self.name.as_bytes()]);
        let version = keccak256(&[self.version.as_bytes()]);
        let chain = number_word(self.chain_id.into());
        Separator(match self.contract {
            Some(contract) => struct_hash(
                "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
                &[name, version, chain, account_word(contract)],
            ),
            None => struct_hash(
                "EIP712Domain(string name,string version,uint256 chainId)",
                &[name, version, chain],
            ),
        })
    }
}

impl Separator {
    /// What is signed of a struct.
    pub fn digest(&self, struct_hash: &Word) -> Word {
        keccak256(&[&[0x19, 0x01], &self.0, struct_hash])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of EIP-712 itself; its nested structs are words that we hash here.
    #[test]
    fn the_mail_of_the_specification_has_its_digest() {
        let domain =
            Domain { name: "Ether Mail", version: "1", chain_id: 1, contract: Some(Account([0xcc; 20])) };
        let separator = domain.separator();
        assert_eq!(
            hex::encode(separator.0),
            "f2cee375fa42b42143804025fc449deafd50cc031ca257e0b194a650a912090f"
        );
        let person = |name: &str, wallet: &str| {
            let wallet = account_word(wallet.parse().unwrap());
            struct_hash("Person(string name,address wallet)", &[keccak256(&[name.as_bytes()]), wallet])
        };
        let from = person("Cow", "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826");
        let to = person("Bob", "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB");
        let kind = "Mail(Person from,Person to,string contents)Person(string name,address wallet)";
        let mail = struct_hash(kind, &[from, to, keccak256(&[b"Hello, Bob!"])]);
        assert_eq!(
            hex::encode(separator.digest(&mail)),
            "be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2"
        );
    }

    #[test]
    fn numbers_and_accounts_fill_a_word_from_the_right() {
        assert_eq!(number_word(0x0102)[30..], [1, 2]);
        assert_eq!(account_word(Account([7; 20]))[..12], [0; 12]);
    }
}
