// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {PaymentChannels} from "../../src/PaymentChannels.sol";

/// What is signed where the contract itself does not say it.
library Digests {
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    function authorization(
        PaymentChannels channels,
        address payer,
        address signer,
        uint256 nonce,
        uint256 deadline
    ) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                DOMAIN_TYPEHASH,
                keccak256("Blackhole PaymentChannels"),
                keccak256("1"),
                block.chainid,
                address(channels)
            )
        );
        bytes32 structHash =
            keccak256(abi.encode(channels.AUTHORIZATION_TYPEHASH(), payer, signer, nonce, deadline));
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
