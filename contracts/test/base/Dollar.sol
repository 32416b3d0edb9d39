// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC3009} from "@openzeppelin/contracts/token/ERC20/extensions/draft-ERC3009.sol";

/// A token as the dollar of production is: six decimals, permits, authorisations, a list of the blocked.
contract Dollar is ERC20Permit, ERC3009 {
    error Blocked(address account);

    mapping(address account => bool) public blocked;

    constructor() ERC20("Dollar", "USD") ERC20Permit("Dollar") {}

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }

    function setBlocked(address account, bool blocked_) external {
        blocked[account] = blocked_;
    }

    function receiveDigest(address from, address to, uint256 amount, uint256 before, bytes32 nonce)
        external
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(
            keccak256(abi.encode(RECEIVE_WITH_AUTHORIZATION_TYPEHASH, from, to, amount, 0, before, nonce))
        );
    }

    function permitDigest(address owner, address spender, uint256 amount, uint256 deadline)
        external
        view
        returns (bytes32)
    {
        bytes32 typehash = keccak256(
            "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
        );
        return
            _hashTypedDataV4(keccak256(abi.encode(typehash, owner, spender, amount, nonces(owner), deadline)));
    }

    function _update(address from, address to, uint256 amount) internal override {
        if (blocked[from]) revert Blocked(from);
        if (blocked[to]) revert Blocked(to);
        super._update(from, to, amount);
    }
}
