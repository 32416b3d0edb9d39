// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// What we use of halmos: values that stand for all values.
interface Symbols {
    function createAddress(string calldata name) external pure returns (address);
    function createBool(string calldata name) external pure returns (bool);
    function createBytes(uint256 bytes_, string calldata name) external pure returns (bytes memory);
    function createBytes32(string calldata name) external pure returns (bytes32);
    function createUint(uint256 bits, string calldata name) external pure returns (uint256);
    /// From now on a contract's storage may hold anything.
    function enableSymbolicStorage(address contract_) external;
}

Symbols constant SYMBOLS = Symbols(address(uint160(uint256(keccak256("svm cheat code")))));
