// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// A token that misbehaves in each way that tokens do, one at a time or together.
contract HostileToken {
    /// What a fraction of `SHARES` is worth: a rebase changes everybody's balance at once.
    uint256 public index = 1e18;
    /// Taken from what arrives, and taken from the sender on top, in ten thousandths.
    uint256 public feeFromRecipient;
    uint256 public feeFromSender;
    /// Says false and moves nothing.
    bool public saysFalse;
    /// Says true and moves nothing.
    bool public liesAboutMoving;
    /// Says nothing at all, as the oldest dollar does.
    bool public saysNothing;
    mapping(address account => bool) public blocked;

    /// Called in the middle of each transfer and permit, where it is set.
    address public calls;
    bytes public callData;
    /// How the last of those calls went.
    bool public callSucceeded;
    bytes public callAnswer;

    mapping(address account => uint256) private _shares;
    mapping(address owner => mapping(address spender => uint256)) public allowance;
    mapping(address owner => mapping(bytes32 nonce => bool)) public authorizationState;

    error TooLittle();
    error NotNow();
    error Used();
    error IsBlocked(address account);

    function balanceOf(address account) public view returns (uint256) {
        return _shares[account] * index / 1e18;
    }

    function mint(address account, uint256 amount) external {
        _shares[account] += amount * 1e18 / index;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        if (allowance[from][msg.sender] < amount) revert TooLittle();
        allowance[from][msg.sender] -= amount;
        return _move(from, to, amount);
    }

    /// Whoever signed it: this token gives away what is not the asker's.
    function permit(address owner, address spender, uint256 amount, uint256 deadline, uint8, bytes32, bytes32)
        external
    {
        if (block.timestamp > deadline) revert NotNow();
        _call();
        allowance[owner][spender] = amount;
    }

    /// Whoever signed it, once.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 amount,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8,
        bytes32,
        bytes32
    ) external {
        if (block.timestamp <= validAfter || block.timestamp >= validBefore) {
            revert NotNow();
        }
        if (authorizationState[from][nonce]) revert Used();
        authorizationState[from][nonce] = true;
        _move(from, to, amount);
    }

    function rebase(uint256 index_) external {
        index = index_;
    }

    function takeFees(uint256 fromRecipient, uint256 fromSender) external {
        (feeFromRecipient, feeFromSender) = (fromRecipient, fromSender);
    }

    function answer(bool false_, bool lies, bool nothing) external {
        (saysFalse, liesAboutMoving, saysNothing) = (false_, lies, nothing);
    }

    function setBlocked(address account, bool blocked_) external {
        blocked[account] = blocked_;
    }

    function callDuringTransfer(address target, bytes calldata data) external {
        (calls, callData) = (target, data);
    }

    function _call() private {
        if (calls == address(0)) return;
        address target = calls;
        // Once: a call that comes back here must not go on for ever.
        calls = address(0);
        (callSucceeded, callAnswer) = target.call(callData);
        calls = target;
    }

    function _move(address from, address to, uint256 amount) private returns (bool) {
        if (blocked[from]) revert IsBlocked(from);
        if (blocked[to]) revert IsBlocked(to);
        _call();
        if (saysFalse) return false;
        if (!liesAboutMoving) {
            uint256 out = (amount + amount * feeFromSender / 10_000) * 1e18 / index;
            if (_shares[from] < out) revert TooLittle();
            _shares[from] -= out;
            _shares[to] += (amount - amount * feeFromRecipient / 10_000) * 1e18 / index;
        }
        if (saysNothing) {
            assembly {
                return(0, 0)
            }
        }
        return true;
    }
}
